#include "backend/cpu/lanes_avx2.h"
// After its lanes.
#include "backend/cpu/panel_kernels.h"

namespace quern::cpu {
constinit const PanelKernels kPanelsAvx2 = make_panel_kernels("avx2");
}  // namespace quern::cpu
