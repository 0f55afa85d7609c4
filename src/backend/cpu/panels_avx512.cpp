#include "backend/cpu/lanes_avx512.h"
// After its lanes.
#include "backend/cpu/panel_kernels.h"

namespace quern::cpu {
constinit const PanelKernels kPanelsAvx512 = make_panel_kernels("avx512");
}  // namespace quern::cpu
