#include "files/packed_matrix.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "base/error.h"
#include "formats/list.h"

namespace quern {
namespace {

constexpr size_t kIntegerBlocks[] = {128, 64, 32}, kFloat8Blocks[] = {128, 32};

bool is_f16(float value) { return f16_to_f32(f32_to_f16(value)) == value; }

}  // namespace

unsigned CodeGrid::at(uint64_t row, uint64_t column) const {
  if (word_bits == 8) return byte_of(data, row * row_step + column * column_step) ^ flip;
  const unsigned in_word = word_bits / bits;
  const uint64_t along = packs_rows ? row : column;
  const uint64_t word = packs_rows ? row / in_word * row_step + column * column_step : row * row_step + column / in_word * column_step;
  const unsigned place = places != nullptr ? places[along % in_word] : static_cast<unsigned>(along % in_word);
  return (load_u32(data + word * sizeof(uint32_t)) >> (bits * place) & ((1U << bits) - 1)) ^ flip;
}

float ScaleGrid::at(uint64_t row, uint64_t group) const {
  const FormatInfo& info = format_info(format);
  float value;
  info.unpack(data + (row / rows_each * row_step + group * group_step) * info.block_bytes, 1, &value);
  return value;
}

PackedMatrix::PackedMatrix(Source source, const std::string& name) : source_(std::move(source)) {
  CHECK(source_.groups.size() == source_.columns, "{}: {} groups for {} columns", name, source_.groups.size(), source_.columns);
  for (const uint32_t group : source_.groups) num_groups_ = std::max(num_groups_, group + 1);
  choose(name);
}

unsigned PackedMatrix::zero_at(uint64_t row, uint32_t group) const {
  if (source_.zeros.data == nullptr) return source_.zero;
  return (source_.zeros.at(row, group) + source_.zero_shift) & ((1U << source_.zeros.bits) - 1);
}

float PackedMatrix::value_at(uint64_t row, uint64_t column) const {
  const uint32_t group = source_.groups[column];
  const unsigned code = source_.codes.at(row, column);
  const float scale = source_.scales.at(row, group);
  if (source_.values == Values::float8) return scale * e4m3_to_f32(static_cast<uint8_t>(code));
  return scale * static_cast<float>(static_cast<int>(code) - static_cast<int>(zero_at(row, group)));
}

size_t PackedMatrix::block_of(std::span<const size_t> sizes) const {
  for (const size_t size : sizes) {
    if (source_.columns % size != 0) continue;
    bool fits = true;
    for (uint64_t c = 0; c < source_.columns && fits; ++c) fits = source_.groups[c] == source_.groups[c / size * size];
    if (fits) return size;
  }
  return 0;
}

void PackedMatrix::choose(const std::string& name) {
  bool fit_f16 = true;
  for (uint64_t row = 0; row < source_.rows; row += source_.scales.row_step == 0 ? source_.rows : source_.scales.rows_each) {
    for (uint32_t group = 0; group < num_groups_; ++group) {
      const float scale = source_.scales.at(row, group);
      if (!std::isfinite(scale))
        raise(invalid_input, "{}: scale of row {}, group {}: want a finite number, found {}", name, row, group, scale);
      fit_f16 = fit_f16 && is_f16(scale);
    }
  }
  if (source_.values == Values::integers) {
    choose_integers(fit_f16);
    return;
  }
  block_ = block_of(kFloat8Blocks);
  if (block_ != 0) {
    format_ = block_ == 128 ? Format::f8g128 : Format::f8g32;
  } else {
    wider_because_ = fmt::format("{} columns are no whole groups of 32", source_.columns);
  }
}

void PackedMatrix::choose_integers(bool fit_f16) {
  const unsigned bits = source_.codes.bits, middle = 1U << (bits - 1);
  bool is_symmetric = true;
  for (uint64_t row = 0; row < source_.rows && is_symmetric; ++row) {
    for (uint32_t group = 0; group < num_groups_ && is_symmetric; ++group) is_symmetric = zero_at(row, group) == middle;
  }
  if (bits == 8 && is_symmetric && num_groups_ == 1) {
    format_ = Format::i8;
    block_ = 1;
    return;
  }
  const size_t block = block_of(kIntegerBlocks);
  if (bits == 8 && !is_symmetric) {
    wider_because_ = "8-bit codes with zero points";
  } else if (block == 0) {
    wider_because_ = "columns of a group do not lie side by side in blocks of 32 (act-order)";
    if (std::ranges::is_sorted(source_.groups)) wider_because_ = "groups are no multiples of 32 columns";
  } else if (!fit_f16) {
    wider_because_ = "f16 cannot hold its scales";
  } else {
    block_ = block;
    format_ = *find_format(fmt::format("i{}g{}{}", bits, block, is_symmetric ? "" : "z"));
  }
}

void PackedMatrix::write_rows(uint64_t first, uint64_t count, std::byte* out) const {
  CHECK(first <= rows() && count <= rows() - first, "rows {} + {} of {}", first, count, rows());
  const size_t bytes = row_bytes(format_, source_.columns);
  for (uint64_t row = first; row < first + count; ++row, out += bytes) write_row(row, out);
}

void PackedMatrix::write_row(uint64_t row, std::byte* out) const {
  if (block_ == 0) {
    for (uint64_t c = 0; c < source_.columns; ++c) {
      const float value = value_at(row, c);
      std::memcpy(out + c * sizeof(value), &value, sizeof(value));
    }
    return;
  }
  const unsigned flip = source_.values == Values::integers && source_.codes.bits == 8 ? 0x80 : 0;  // formats have signed bytes
  if (block_ == 1) {
    for (uint64_t c = 0; c < source_.columns; ++c) out[c] = static_cast<std::byte>(source_.codes.at(row, c) ^ flip);
    const float scale = source_.scales.at(row, 0);
    std::memcpy(out + source_.columns, &scale, sizeof(scale));
    return;
  }
  const FormatInfo& info = format_info(format_);
  const bool is_nibbles = source_.codes.bits == 4, has_zero = info.block_bytes == 3 + block_ / 2;
  for (uint64_t begin = 0; begin < source_.columns; begin += block_, out += info.block_bytes) {
    const uint32_t group = source_.groups[begin];
    const float scale = source_.scales.at(row, group);
    std::byte* codes = out + sizeof(F16Bits) + (has_zero ? 1 : 0);
    if (source_.values == Values::float8) {
      std::memcpy(out, &scale, sizeof(scale));
      codes = out + sizeof(scale);
    } else {
      const F16Bits half = f32_to_f16(scale);
      std::memcpy(out, &half, sizeof(half));
      if (has_zero) out[sizeof(half)] = static_cast<std::byte>(zero_at(row, group));
    }
    for (size_t i = 0; i < block_; ++i) {
      const unsigned code = source_.codes.at(row, begin + i) ^ flip;
      if (is_nibbles) {
        set_int4_code(codes, i, static_cast<uint8_t>(code));
      } else {
        codes[i] = static_cast<std::byte>(code);
      }
    }
  }
}

}  // namespace quern
