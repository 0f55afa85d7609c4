#include "builder/int4_scale.h"

#include <cmath>
#include <cstring>

#include "base/float16.h"
#include "formats/int4.h"

namespace quern {
namespace {

// The extreme value of a group over -8, times one of these, is its scale: a smaller one clips the extremes, a negative one gives the
// codes' longer side to the other sign. The first is the plain one, so that a search never does worse.
constexpr float kFactors[] = {1.F, 0.95F, 0.9F, 0.85F, 0.8F, -0.95F, -1.02F, -1.1F};

// Adding and taking away 1.5 * 2^23 rounds to the nearest integer, ties to even, for magnitudes below 2^22; here they are below 17.
constexpr float kRounder = 12582912.F;

// In [-8, 7]. Cut off as an integer: comparisons of floats keep GCC from using vector registers.
int code_of(float value, float inverse) {
  const int code = static_cast<int>((value * inverse + kRounder) - kRounder);
  const int low = code < -8 ? -8 : code;
  return low > 7 ? 7 : low;
}

// Sum of squared errors of a group under `scale`, in a fixed order: halves are added to halves, in vector registers.
template <size_t N>
float squared_error(const float* values, float scale, float inverse) {
  float errors[N];
  for (size_t i = 0; i < N; ++i) {
    const float error = static_cast<float>(code_of(values[i], inverse)) * scale - values[i];
    errors[i] = error * error;
  }
  for (size_t half = N / 2; half > 0; half /= 2) {
    for (size_t i = 0; i < half; ++i) errors[i] += errors[i + half];
  }
  return errors[0];
}

template <size_t N>
F16Bits best_scale(const float* values) {
  float extreme = 0;
  for (size_t i = 0; i < N; ++i) extreme = std::fabs(values[i]) > std::fabs(extreme) ? values[i] : extreme;
  F16Bits best = f32_to_f16(extreme / -8.F);
  float least = INFINITY;
  for (const float factor : kFactors) {
    const F16Bits bits = f32_to_f16(extreme / -8.F * factor);
    const float scale = f16_to_f32(bits);
    if (scale == 0 || !std::isfinite(scale)) continue;
    const float error = squared_error<N>(values, scale, 1.F / scale);
    if (error < least) least = error, best = bits;
  }
  return best;
}

template <size_t N>
void pack_searched(const float* values, size_t count, std::byte* row) {
  for (size_t g = 0; g < count / N; ++g, values += N, row += I4Group<N>::kBytes) {
    const F16Bits bits = best_scale<N>(values);
    const float scale = f16_to_f32(bits), inverse = scale != 0 ? 1.F / scale : 0.F;
    std::memcpy(row, &bits, sizeof(bits));
    for (size_t i = 0; i < N; ++i) set_int4_code(row + 2, i, static_cast<uint8_t>(code_of(values[i], inverse) + 8));
  }
}

struct SearchedFormat {
  Format format;
  void (*pack)(const float* values, size_t count, std::byte* row);
};
constexpr SearchedFormat kSearched[] = {
    {Format::i4g32, &pack_searched<32>}, {Format::i4g64, &pack_searched<64>}, {Format::i4g128, &pack_searched<128>}};

}  // namespace

void pack_row(const FormatInfo& format, const float* values, size_t count, std::byte* row) {
  for (const SearchedFormat& searched : kSearched) {
    if (searched.format == format.format) return searched.pack(values, count, row);
  }
  format.pack(values, count, row);
}

}  // namespace quern
