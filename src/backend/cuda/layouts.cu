// Packing of weights into the private layouts, on the device. Loading uploads canonical rows piece by piece; no host code touches a code.
#include "backend/cuda/granules.cuh"
#include "backend/cuda/launch.h"
#include "backend/cuda/layouts.h"
#include "backend/cuda/stream.h"

namespace quern::cuda {
namespace {

constexpr size_t kStagingBytes = size_t{64} << 20;
constexpr size_t kFactorBytes = 256;
constexpr unsigned kThreads = 256;

constexpr size_t aligned(size_t bytes) { return (bytes + 255) / 256 * 256; }
unsigned blocks_for(size_t threads) { return static_cast<unsigned>((threads + kThreads - 1) / kThreads); }

// How a canonical row of format F keeps the code of a column.
template <class F>
struct Codes {
  static constexpr int kBits = 0;
};
template <>
struct Codes<I8> {
  static constexpr int kBits = 8;
  static constexpr bool kZeros = false;
  static constexpr size_t kHeader = 0;
};
template <size_t N>
struct Codes<I8Group<N>> : Codes<I8> {
  static constexpr size_t kHeader = 2;
};
template <size_t N>
struct Codes<I4Group<N>> {
  static constexpr int kBits = 4;
  static constexpr bool kZeros = false;
  static constexpr size_t kHeader = 2;
};
template <size_t N>
struct Codes<I4ZeroGroup<N>> {
  static constexpr int kBits = 4;
  static constexpr bool kZeros = true;
  static constexpr size_t kHeader = 3;
};

template <class F>
constexpr GranuleFormat format_of() {
  GranuleFormat f;
  f.bits = Codes<F>::kBits;
  if constexpr (Codes<F>::kBits != 0) {
    f.has_zeros = Codes<F>::kZeros;
    const int values = static_cast<int>(F::kValues);
    f.group = F::kValues == 1 ? 0 : values < f.columns() ? values : f.columns();  // a longer group repeats its scale
  }
  return f;
}

size_t scale_bytes(GranuleFormat f, size_t rows, size_t columns) {
  if (f.group == 0) return rows * sizeof(float);
  return rows * (columns / static_cast<size_t>(f.group)) * (f.has_zeros ? 4 : 2);
}
size_t code_bytes(GranuleFormat f, size_t rows, size_t columns) { return rows * columns * static_cast<size_t>(f.bits) / 8; }

template <class F>
__device__ const std::byte* block_of(const std::byte* row, int column) {
  return row + static_cast<size_t>(column) / F::kValues * F::kBytes;
}

// A thread a lane: 16 bytes of one granule.
template <class F>
__global__ void pack_codes(const std::byte* canonical, size_t row_bytes, int columns, size_t rows, uint4* out) {
  wait_for_previous();
  let_next_start();
  constexpr GranuleFormat kFormat = format_of<F>();
  const size_t index = static_cast<size_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  const size_t granules = static_cast<size_t>(columns / kFormat.columns());
  if (index >= rows / 8 * granules * kWarp) return;
  const int lane = static_cast<int>(index % kWarp), g = lane / 4, t = lane % 4;
  const size_t granule = index / kWarp % granules;
  const std::byte* row = canonical + (index / kWarp / granules * 8 + static_cast<size_t>(g)) * row_bytes;
  const int first = static_cast<int>(granule) * kFormat.columns() + 8 * t;
  uint32_t words[4] = {};
  for (int j = 0; j < kFormat.columns() / 32; ++j) {
    for (int i = 0; i < 8; ++i) {
      const int column = first + 32 * j + i;
      if constexpr (kFormat.bits == 4) {
        const uint32_t code = int4_code(block_of<F>(row, column) + Codes<F>::kHeader, static_cast<size_t>(column) % F::kValues);
        words[j] |= code << (4 * (i % 2 * 4 + i / 2));
      } else {
        const std::byte* at =
            F::kValues == 1 ? row + column : block_of<F>(row, column) + Codes<F>::kHeader + static_cast<size_t>(column) % F::kValues;
        const uint32_t code = static_cast<uint8_t>(*at) ^ 0x80U;
        words[2 * j + i / 4] |= code << (8 * (i % 4));
      }
    }
  }
  out[index] = make_uint4(words[0], words[1], words[2], words[3]);
}

// A thread a scale.
template <class F>
__global__ void pack_scales(const std::byte* canonical, size_t row_bytes, int columns, size_t rows, std::byte* out) {
  wait_for_previous();
  let_next_start();
  constexpr GranuleFormat kFormat = format_of<F>();
  const size_t index = static_cast<size_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if constexpr (kFormat.group == 0) {
    if (index < rows) reinterpret_cast<float*>(out)[index] = load_f32(canonical + index * row_bytes + columns);
  } else {
    constexpr size_t kGroups = static_cast<size_t>(kFormat.columns() / kFormat.group);
    const size_t granules = static_cast<size_t>(columns / kFormat.columns());
    if (index >= rows * granules * kGroups) return;
    const size_t group = index % kGroups, inner_row = index / kGroups % 8, granule = index / kGroups / 8 % granules;
    const size_t row = index / kGroups / 8 / granules * 8 + inner_row;
    const int column = static_cast<int>(granule) * kFormat.columns() + static_cast<int>(group) * kFormat.group;
    const std::byte* block = block_of<F>(canonical + row * row_bytes, column);
    auto* const halves = reinterpret_cast<uint16_t*>(out);
    if constexpr (kFormat.has_zeros) {
      halves[2 * index] = load_u16(block);
      halves[2 * index + 1] = static_cast<uint16_t>(0x6400 + byte_of(block, 2));
    } else {
      halves[index] = load_u16(block);
    }
  }
}

__global__ void find_largest(const uint16_t* values, size_t count, unsigned* largest) {
  wait_for_previous();
  let_next_start();
  unsigned most = 0;
  const size_t step = static_cast<size_t>(gridDim.x) * blockDim.x;
  for (size_t i = static_cast<size_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < count; i += step) {
    const unsigned magnitude = values[i] & 0x7fffU;
    if (magnitude < 0x7f80 && magnitude > most) most = magnitude;  // finite
  }
  for (int mask = kWarp / 2; mask > 0; mask /= 2) most = max(most, shuffle_xor(most, mask));
  if (threadIdx.x % kWarp == 0) atomic_max(largest, most);
}

// Reads the largest magnitude where the factor will be: header[0] as unsigned, then header = {factor, 0, 1}.
QUERN_DEVICE int scale_exponent(unsigned largest) {
  const int exponent = largest == 0 ? 15 : static_cast<int>(largest >> 7) - 127;
  return min(max(15 - exponent, -110), 110);
}
__global__ void scale_to_half(uint16_t* values, size_t count, const unsigned* largest) {
  wait_for_previous();
  let_next_start();
  const float factor = ldexpf(1.F, scale_exponent(*largest));
  const size_t step = static_cast<size_t>(gridDim.x) * blockDim.x;
  for (size_t i = static_cast<size_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < count; i += step) {
    values[i] = half_from_float(float_from_bfloat(values[i]) * factor);
  }
}
__global__ void write_factor(float* header) {
  wait_for_previous();
  let_next_start();
  if (threadIdx.x != 0) return;
  header[0] = ldexpf(1.F, -scale_exponent(__float_as_uint(header[0])));
  header[1] = 0;
  header[2] = 1;
}

bool is_whole(const WeightSource& source, size_t row_multiple) {
  if (source.use == WeightUse::embed) return false;
  for (const Tensor& part : source.parts) {
    if (part.format != source.parts[0].format || part.columns() % static_cast<size_t>(kUnitColumns) != 0 || part.rows() % row_multiple != 0)
      return false;
  }
  return true;
}

}  // namespace

GranuleFormat granule_format(Format format) {
  return with_format(format, []<class F>() { return format_of<F>(); });
}

GranulePart granule_part(const Weight& w, size_t index) {
  const GranuleFormat f = granule_format(w.parts[0].format);
  size_t offset = 0;
  for (const Tensor& part : w.parts) offset += aligned(code_bytes(f, part.rows(), part.columns()));
  for (size_t i = 0; i < index; ++i) offset += aligned(scale_bytes(f, w.parts[i].rows(), w.parts[i].columns()));
  const Tensor& part = w.parts[index];
  return {part.data, w.packed + offset, static_cast<int>(part.rows()), static_cast<int>(part.columns()), f};
}

size_t granules_bytes(std::span<const Tensor> parts) {
  const GranuleFormat f = granule_format(parts[0].format);
  size_t bytes = 0;
  for (const Tensor& part : parts) {
    bytes += aligned(code_bytes(f, part.rows(), part.columns())) + aligned(scale_bytes(f, part.rows(), part.columns()));
  }
  return bytes;
}

void place_granules(Weight& into, std::byte* bytes) {
  const GranuleFormat f = granule_format(into.parts[0].format);
  into.packed = bytes;
  into.layout = kGranules;
  for (Tensor& part : into.parts) {
    part.data = bytes;
    part.layout = kGranules;
    bytes += aligned(code_bytes(f, part.rows(), part.columns()));
  }
}

void pack_granule_rows(const Weight& into, size_t index, size_t first_row, size_t rows, const std::byte* canonical, Stream& stream) {
  const GranulePart part = granule_part(into, index);
  const GranuleFormat f = part.format;
  const auto columns = static_cast<size_t>(part.columns);
  CHECK(first_row % 8 == 0 && rows % 8 == 0, "rows {} + {}", first_row, rows);
  auto* codes = reinterpret_cast<uint4*>(const_cast<std::byte*>(part.codes) + code_bytes(f, first_row, columns));
  std::byte* scales = const_cast<std::byte*>(part.scales) + scale_bytes(f, first_row, columns);
  const size_t bytes = into.parts[index].row_bytes(), lanes = rows * columns * static_cast<size_t>(f.bits) / 128;
  const size_t num_scales = f.group == 0 ? rows : rows * (columns / static_cast<size_t>(f.group));
  with_format(into.parts[index].format, [&]<class F>() {
    if constexpr (Codes<F>::kBits != 0) {
      CudaStream& cuda = cuda_stream(stream);
      launch("pack_codes", &pack_codes<F>, {blocks_for(lanes), kThreads}, cuda, canonical, bytes, part.columns, rows, codes);
      launch("pack_scales", &pack_scales<F>, {blocks_for(num_scales), kThreads}, cuda, canonical, bytes, part.columns, rows, scales);
    }
  });
}

size_t scaled_half_bytes(std::span<const Tensor> parts) {
  size_t bytes = kFactorBytes;
  for (const Tensor& part : parts) bytes += part.bytes();
  return bytes;
}

const float* scaled_half_factor(const Weight& w) { return reinterpret_cast<const float*>(w.packed); }

void place_scaled_half(Weight& into, std::byte* bytes) {
  into.packed = bytes;
  into.layout = kScaledHalf;
  bytes += kFactorBytes;
  for (Tensor& part : into.parts) {
    part.data = bytes;
    part.layout = kScaledHalf;
    bytes += part.bytes();
  }
}

void convert_scaled_half(Weight& into, Stream& stream) {
  CudaStream& cuda = cuda_stream(stream);
  auto* header = reinterpret_cast<float*>(into.packed);
  auto* values = reinterpret_cast<uint16_t*>(into.packed + kFactorBytes);
  size_t count = 0;
  for (const Tensor& part : into.parts) count += part.rows() * part.columns();
  cuda.runtime->clear(into.packed, kFactorBytes);
  launch("find_largest", &find_largest, {1024, kThreads}, cuda, values, count, reinterpret_cast<unsigned*>(header));
  launch("scale_to_half", &scale_to_half, {1024, kThreads}, cuda, values, count, reinterpret_cast<const unsigned*>(header));
  launch("write_factor", &write_factor, {1, 32}, cuda, header);
}

const WeightLayout kScaledHalfLayout = {
    "scaled_half", kScaledHalf,
    [](const WeightSource& source, const DeviceInfo&) { return is_whole(source, 1) && source.parts[0].format == Format::bf16; },
    [](const WeightSource& source) { return scaled_half_bytes(source.parts); },
    [](const WeightSource& source, Weight& into, std::byte* bytes, Stream& stream) {
      place_scaled_half(into, bytes);
      for (size_t i = 0; i < source.parts.size(); ++i) {
        into.parts[i].device = stream.info->device;
        cuda_stream(stream).runtime->upload(into.parts[i].data, source.parts[i].data, source.parts[i].bytes());
      }
      convert_scaled_half(into, stream);
    }};

const WeightLayout kGranulesLayout = {"granules", kGranules,
                                      [](const WeightSource& source, const DeviceInfo&) {
                                        return is_whole(source, 16) && granule_format(source.parts[0].format).bits != 0 &&
                                               source.parts[0].row_bytes() * 8 <= kStagingBytes;
                                      },
                                      [](const WeightSource& source) { return granules_bytes(source.parts); },
                                      [](const WeightSource& source, Weight& into, std::byte* bytes, Stream& stream) {
                                        CudaStream& cuda = cuda_stream(stream);
                                        place_granules(into, bytes);
                                        if (cuda.staging.bytes() == 0) cuda.staging = cuda.runtime->allocate(kStagingBytes);
                                        for (size_t i = 0; i < source.parts.size(); ++i) {
                                          const Tensor& part = source.parts[i];
                                          into.parts[i].device = stream.info->device;
                                          const size_t row_bytes = part.row_bytes(), rows_at_once = kStagingBytes / row_bytes / 8 * 8;
                                          for (size_t first = 0; first < part.rows(); first += rows_at_once) {
                                            const size_t rows = std::min(rows_at_once, part.rows() - first);
                                            cuda.runtime->upload(cuda.staging.data(), part.data + first * row_bytes, rows * row_bytes);
                                            pack_granule_rows(into, i, first, rows, cuda.staging.data(), stream);
                                          }
                                        }
                                      }};

}  // namespace quern::cuda
