// The private weight layout of the CPU. A panel is 16 output rows side by side: wherever a row of the file has a 4-byte word of codes or
// an f16 scale, the panel has the 16 rows' words one after the other, so that a vector load gives each of 16 lanes its own row. Bytes and
// meaning are the file's; only the last panel's missing rows are added, as zeros. panel_sources.h reads what panels.cpp packs.
#pragma once
#include "backend/kernel_row.h"

namespace quern::cpu {

inline constexpr LayoutId kPanels = 1;

// Bytes of a panel of `columns` columns. 0: the format has no panels.
size_t panel_bytes(Format format, size_t columns);

inline size_t num_panels(const Tensor& part) { return (part.rows() + 15) / 16; }

// Bytes from one panel of a part to the next. Gate and up lie panel by panel in turn, so that the thread that multiplies both reads on;
// other parts lie one after the other.
size_t panel_step(const Weight& w, const Tensor& part);

// Panels [begin, end) of `source` (canonical) to `panels`, where panel 0 starts, `step` bytes apart.
void pack_panels(const Tensor& source, size_t begin, size_t end, size_t step, std::byte* panels);

extern const WeightLayout kPanelLayout;

}  // namespace quern::cpu
