// Packing is a transposition of words: 16 rows are read as 16 streams and written as one. It runs on all threads, each packing the share
// that it will later read first.
#include "backend/cpu/panels.h"

#include <algorithm>
#include <cstring>

#include "backend/cpu/panel_product.h"
#include "base/thread_pool.h"

namespace quern::cpu {
namespace {

enum class Unit : uint8_t { bytes1 = 1, bytes2 = 2, bytes4 = 4, fifth_bits = 5, float8 = 6 };  // float8 becomes f16

// A part of a block of the file: `bytes` bytes from `offset`, moved in units. In the order in which the panel has them.
struct Field {
  uint16_t offset, bytes;
  Unit unit;
};

struct PanelFormat {
  Format format;
  uint16_t block_values, block_bytes;  // what is moved at once; for the plain formats more than a block of the format
  Field fields[4];                     // bytes 0: no more
};

using enum Unit;
constexpr PanelFormat kPanelFormats[] = {
    {Format::f32, 16, 64, {{0, 64, bytes4}}},
    {Format::f16, 16, 32, {{0, 32, bytes2}}},
    {Format::bf16, 16, 32, {{0, 32, bytes4}}},  // columns in pairs
    {Format::f8g32, 32, 36, {{0, 4, bytes4}, {4, 32, float8}}},
    {Format::f8g128, 128, 132, {{0, 4, bytes4}, {4, 128, float8}}},
    {Format::i8, 32, 32, {{0, 32, bytes4}}},
    {Format::i8g32, 32, 34, {{0, 2, bytes2}, {2, 32, bytes4}}},
    {Format::i8g64, 64, 66, {{0, 2, bytes2}, {2, 64, bytes4}}},
    {Format::i8g128, 128, 130, {{0, 2, bytes2}, {2, 128, bytes4}}},
    {Format::i4g32, 32, 18, {{0, 2, bytes2}, {2, 16, bytes4}}},
    {Format::i4g64, 64, 34, {{0, 2, bytes2}, {2, 32, bytes4}}},
    {Format::i4g128, 128, 66, {{0, 2, bytes2}, {2, 64, bytes4}}},
    {Format::i4g32z, 32, 19, {{0, 2, bytes2}, {2, 1, bytes1}, {3, 16, bytes4}}},
    {Format::i4g64z, 64, 35, {{0, 2, bytes2}, {2, 1, bytes1}, {3, 32, bytes4}}},
    {Format::i4g128z, 128, 67, {{0, 2, bytes2}, {2, 1, bytes1}, {3, 64, bytes4}}},
    {Format::q4_1, 32, 20, {{0, 4, bytes2}, {4, 16, bytes4}}},
    {Format::q5_0, 32, 22, {{0, 2, bytes2}, {2, 4, fifth_bits}, {6, 16, bytes4}}},
    {Format::q5_1, 32, 24, {{0, 4, bytes2}, {4, 4, fifth_bits}, {8, 16, bytes4}}},
    {Format::q2_k, 256, 84, {{80, 4, bytes2}, {0, 80, bytes4}}},
    {Format::q3_k, 256, 110, {{108, 2, bytes2}, {96, 12, bytes4}, {0, 96, bytes4}}},
    {Format::q4_k, 256, 144, {{0, 4, bytes2}, {4, 140, bytes4}}},
    {Format::q5_k, 256, 176, {{0, 4, bytes2}, {4, 172, bytes4}}},
    {Format::q6_k, 256, 210, {{208, 2, bytes2}, {192, 16, bytes4}, {0, 192, bytes4}}},
};

const PanelFormat* find(Format format) {
  const auto* found = std::ranges::find(kPanelFormats, format, &PanelFormat::format);
  return found == std::end(kPanelFormats) ? nullptr : found;
}

// Bit 4q + b of `bits` to bit q of byte b: the fifth bits of a column quad side by side, one quad a bit.
uint32_t spread_fifth_bits(uint32_t bits) {
  uint32_t spread = 0;
  for (uint32_t b = 0; b < 4; ++b) {
    uint32_t x = bits >> b & 0x11111111U;  // bit 4q
    x = (x | x >> 3) & 0x03030303U;        // pairs of q
    x = (x | x >> 6) & 0x000f000fU;
    x = (x | x >> 12) & 0xffU;
    spread |= x << (8 * b);
  }
  return spread;
}

template <class T>
void move_units(const std::byte* const (&rows)[kLanes], const Field& field, std::byte* to) {
  for (size_t i = 0; i < field.bytes; i += sizeof(T), to += kLanes * sizeof(T)) {
    T units[kLanes];
    for (size_t lane = 0; lane < kLanes; ++lane) std::memcpy(&units[lane], rows[lane] + field.offset + i, sizeof(T));
    std::memcpy(to, units, sizeof(units));
  }
}

void move_fifth_bits(const std::byte* const (&rows)[kLanes], const Field& field, std::byte* to) {
  for (size_t lane = 0; lane < kLanes; ++lane) {
    uint32_t bits;
    std::memcpy(&bits, rows[lane] + field.offset, sizeof(bits));
    bits = spread_fifth_bits(bits);
    std::memcpy(to + lane * sizeof(bits), &bits, sizeof(bits));
  }
}

void move_float8(const std::byte* const (&rows)[kLanes], const Field& field, std::byte* to) {
  for (size_t i = 0; i < field.bytes; ++i, to += kLanes * sizeof(F16Bits)) {
    F16Bits halves[kLanes];
    for (size_t lane = 0; lane < kLanes; ++lane) halves[lane] = f32_to_f16(e4m3_to_f32(byte_of(rows[lane], field.offset + i)));
    std::memcpy(to, halves, sizeof(halves));
  }
}

// Bytes of a field in a panel, for one lane.
constexpr size_t panel_field_bytes(const Field& field) { return field.bytes * (field.unit == float8 ? sizeof(F16Bits) : 1); }

std::byte* move_block(const PanelFormat& format, const std::byte* const (&rows)[kLanes], std::byte* to) {
  for (const Field& field : format.fields) {
    if (field.bytes == 0) break;
    switch (field.unit) {
      case bytes1: move_units<uint8_t>(rows, field, to); break;
      case bytes2: move_units<uint16_t>(rows, field, to); break;
      case bytes4: move_units<uint32_t>(rows, field, to); break;
      case fifth_bits: move_fifth_bits(rows, field, to); break;
      case float8: move_float8(rows, field, to); break;
    }
    to += panel_field_bytes(field) * kLanes;
  }
  return to;
}

// One panel: `count` rows from `row`, row_bytes apart.
void pack_panel(const PanelFormat& format, const std::byte* row, size_t row_bytes, size_t count, size_t columns, std::byte* to) {
  const size_t blocks = columns / format.block_values, rest = columns % format.block_values;
  const std::byte zeros[256] = {};
  const std::byte* rows[kLanes];
  for (size_t b = 0; b < blocks; ++b) {
    for (size_t lane = 0; lane < kLanes; ++lane) rows[lane] = lane < count ? row + lane * row_bytes + b * format.block_bytes : zeros;
    to = move_block(format, rows, to);
  }
  if (rest != 0) {  // plain formats and i8: the last columns, zeros behind them
    const size_t rest_bytes = rest * format.block_bytes / format.block_values;
    std::byte tail[kLanes][64] = {};
    for (size_t lane = 0; lane < kLanes; ++lane) {
      if (lane < count) std::memcpy(tail[lane], row + lane * row_bytes + blocks * format.block_bytes, rest_bytes);
      rows[lane] = tail[lane];
    }
    to = move_block(format, rows, to);
  }
  if (const size_t trailer = format_info(format.format).row_trailer_bytes; trailer != 0) {
    for (size_t lane = 0; lane < kLanes; ++lane, to += trailer) {
      std::memcpy(to, lane < count ? row + lane * row_bytes + row_bytes - trailer : zeros, trailer);
    }
  }
}

bool supports(const WeightSource& source, const DeviceInfo& info) {
#if defined(__x86_64__)
  if (!info.avx2) return false;
#endif
  (void)info;
  if (source.use == WeightUse::gate_up && source.parts.front().rows() != source.parts.back().rows()) return false;
  return source.use != WeightUse::embed && std::ranges::all_of(source.parts, [](const Tensor& part) {
           return part.layout == kCanonical && panel_bytes(part.format, part.columns()) != 0;
         });
}

size_t part_bytes(const Tensor& part) { return num_panels(part) * panel_bytes(part.format, part.columns()); }

size_t total_bytes(const WeightSource& source) {
  size_t bytes = 0;
  for (const Tensor& part : source.parts) bytes += part_bytes(part);
  return bytes;
}

void pack(const WeightSource& source, Weight& into, std::byte* to, Stream& stream) {
  constexpr size_t kGrainBytes = 256 * 1024;
  const bool in_turn = source.use == WeightUse::gate_up;
  for (size_t i = 0; i < source.parts.size(); ++i) {
    const Tensor& part = source.parts[i];
    into.parts[i].data = to;
    into.parts[i].layout = kPanels;
    const size_t bytes = panel_bytes(part.format, part.columns()), step = panel_step(into, part);
    CHECK(bytes != 0, "panels of {}", part.shape.text());
    const size_t grain = std::max<size_t>(1, kGrainBytes / bytes);
    stream.pool->parallel_for(num_panels(part), grain, [&](size_t begin, size_t end) { pack_panels(part, begin, end, step, to); });
    to += in_turn ? bytes : part_bytes(part);
  }
}

}  // namespace

size_t panel_bytes(Format format, size_t columns) {
  const PanelFormat* f = find(format);
  if (f == nullptr) return 0;
  const size_t blocks = (columns + f->block_values - 1) / f->block_values;
  size_t block_bytes = 0;
  for (const Field& field : f->fields) block_bytes += panel_field_bytes(field);
  return (blocks * block_bytes + format_info(format).row_trailer_bytes) * kLanes;
}

size_t panel_step(const Weight& w, const Tensor& part) {
  if (w.use != WeightUse::gate_up) return panel_bytes(part.format, part.columns());
  size_t step = 0;
  for (const Tensor& each : w.parts) step += panel_bytes(each.format, each.columns());
  return step;
}

void pack_panels(const Tensor& source, size_t begin, size_t end, size_t step, std::byte* panels) {
  const PanelFormat& format = *find(source.format);
  const size_t columns = source.columns(), bytes = source.row_bytes();
  for (size_t p = begin; p < end; ++p) {
    pack_panel(format, source.data + p * kLanes * bytes, bytes, std::min(kLanes, source.rows() - p * kLanes), columns, panels + p * step);
  }
}

const WeightLayout kPanelLayout = {"panels", kPanels, supports, total_bytes, pack};

}  // namespace quern::cpu
