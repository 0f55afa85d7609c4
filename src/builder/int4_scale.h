// 4-bit rows whose groups have the scale of least squared error among eight, each value rounded to nearest. The plain pack of
// formats/int4.h maps the extreme value of a group to a code exactly and pays for it in all others.
// rms error of the matrices of two layers of Qwen2.5-Coder-0.5B, share of their rms, plain -> here (a grid of 20 with refined scales):
// groups of 32: 0.1055 -> 0.0879 (0.0865), 64: 0.1098 -> 0.0967 (0.0956). Zero points instead: 0.0851, 0.0953 for 0.25 and 0.125 bits more.
// Unit normals: 0.0859 -> 0.0822, 0.0949 -> 0.0906, 0.1032 -> 0.0971. About 10 ns a value on one core, plain 3.
#pragma once
#include <cstddef>

#include "formats/format.h"

namespace quern {

// A row in `format`: its searched form for i4g32, i4g64 and i4g128, FormatInfo::pack for the others. The same on every machine.
void pack_row(const FormatInfo& format, const float* values, size_t count, std::byte* row);

}  // namespace quern
