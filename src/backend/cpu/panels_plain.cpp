#include "backend/cpu/lanes_plain.h"
// After its lanes.
#include "backend/cpu/panel_kernels.h"

namespace quern::cpu {
constinit const PanelKernels kPanelsPlain = make_panel_kernels("plain");
}  // namespace quern::cpu
