// A warp a granule: one 16-byte load, whole 64-byte stretches of 8 rows written. Bound by the f16 that it writes.
#include "backend/cuda/expand.h"
#include "backend/cuda/launch.h"
#include "backend/cuda/weight_reader.cuh"

namespace quern::cuda {
namespace {

constexpr unsigned kThreads = 256;

template <class Reader>
__global__ void expand_rows(Reader w, size_t first_row, size_t rows, int columns, uint16_t* out) {
  wait_for_previous();
  let_next_start();
  const auto pieces = static_cast<size_t>((columns + Reader::kPiece - 1) / Reader::kPiece);
  const size_t index = static_cast<size_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (index >= rows * pieces) return;
  const size_t row = index / pieces;
  const int piece = static_cast<int>(index % pieces);
  float values[Reader::kPiece];
  w.read(first_row + row, piece, values);
  uint16_t* const to = out + row * static_cast<size_t>(columns) + static_cast<size_t>(piece * Reader::kPiece);
  for (int i = 0; i < Reader::kPiece && piece * Reader::kPiece + i < columns; ++i) to[i] = half_from(values[i]);
}

QUERN_DEVICE uint32_t scaled(uint32_t pair, float scale) {
  return half2_from(float_from_half(static_cast<uint16_t>(pair)) * scale, float_from_half(static_cast<uint16_t>(pair >> 16)) * scale);
}

template <int kBits>
__global__ void expand_granules(GranulePart part, size_t first_row, size_t rows, uint16_t* out) {
  wait_for_previous();
  let_next_start();
  constexpr int kColumns = kBits == 4 ? 128 : 64;
  const auto granules = static_cast<size_t>(part.columns / kColumns);
  const size_t index = (static_cast<size_t>(blockIdx.x) * kThreads + threadIdx.x) / kWarp;
  if (index >= rows / 8 * granules) return;
  const int lane = static_cast<int>(threadIdx.x) % kWarp, g = lane / 4, t = lane % 4;
  const size_t granule_row = first_row / 8 + index / granules, granule = index % granules;
  const size_t at = granule_row * granules + granule;
  const uint4 codes = *reinterpret_cast<const uint4*>(part.codes + at * 512 + static_cast<size_t>(lane) * 16);
  const uint32_t words[4] = {codes.x, codes.y, codes.z, codes.w};
  uint16_t* const to = out + (index / granules * 8 + static_cast<size_t>(g)) * static_cast<size_t>(part.columns) + granule * kColumns +
                       static_cast<size_t>(8 * t);
  const int group = part.format.group, groups = group == 0 ? 1 : kColumns / group;
#pragma unroll
  for (int j = 0; j < kColumns / 32; ++j) {
    float scale;
    uint32_t offset = 0x64086408;  // 1032 twice: a zero point of 8
    if (group == 0) {
      scale = reinterpret_cast<const float*>(part.scales)[granule_row * 8 + static_cast<size_t>(g)];
    } else {
      const size_t entry = (at * 8 + static_cast<size_t>(g)) * static_cast<size_t>(groups) + static_cast<size_t>(32 * j / group);
      const auto* const entries = reinterpret_cast<const uint16_t*>(part.scales);
      scale = float_from_half(entries[part.format.has_zeros ? 2 * entry : entry]);
      if (part.format.has_zeros) offset = entries[2 * entry + 1] * 0x10001U;
    }
    uint32_t pairs[4];
    if constexpr (kBits == 4) {
      unpack_u4(words[j], offset, half2_subtract(0x63806380, offset), pairs);
    } else {
      unpack_u8(words[2 * j], pairs[0], pairs[1]);
      unpack_u8(words[2 * j + 1], pairs[2], pairs[3]);
    }
    *reinterpret_cast<uint4*>(to + 32 * j) =
        make_uint4(scaled(pairs[0], scale), scaled(pairs[1], scale), scaled(pairs[2], scale), scaled(pairs[3], scale));
  }
}

}  // namespace

void launch_expand(const Weight& w, size_t index, size_t first_row, size_t rows, uint16_t* out, CudaStream& stream) {
  const int columns = static_cast<int>(w.parts[index].columns());
  if (w.layout == kGranules && first_row % 8 == 0 && rows % 8 == 0) {
    const GranulePart part = granule_part(w, index);
    const size_t warps = rows / 8 * static_cast<size_t>(columns / part.format.columns());
    const auto blocks = static_cast<unsigned>((warps * kWarp + kThreads - 1) / kThreads);
    launch("expand_granules", part.format.bits == 4 ? &expand_granules<4> : &expand_granules<8>, {blocks, kThreads}, stream, part,
           first_row, rows, out);
    return;
  }
  with_reader(w, index, [&]<class Reader>(const Reader& reader) {
    const size_t pieces = rows * static_cast<size_t>((columns + Reader::kPiece - 1) / Reader::kPiece);
    launch("expand_rows", &expand_rows<Reader>, {static_cast<unsigned>((pieces + kThreads - 1) / kThreads), kThreads}, stream, reader,
           first_row, rows, columns, out);
  });
}

}  // namespace quern::cuda
