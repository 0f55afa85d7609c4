// y = silu(g) * u of plain products.
#include "backend/cuda/launch.h"
#include "backend/cuda/pieces.h"
#include "backend/cuda/values.cuh"

namespace quern::cuda {
namespace {

constexpr unsigned kThreads = 256;

__global__ void gate(const void* products, Format products_format, const float* factor, void* y, Format format, int columns) {
  wait_for_previous();
  let_next_start();
  const float scale = factor == nullptr ? 1.F : *factor;
  const size_t token = blockIdx.y, from = token * 2 * static_cast<size_t>(columns), to = token * static_cast<size_t>(columns);
  const int first = 8 * static_cast<int>(blockIdx.x * kThreads + threadIdx.x);
  if (products_format == Format::f16 && format == Format::f16 && columns % 8 == 0) {
    if (first >= columns) return;
    const auto* const halves = static_cast<const uint16_t*>(products) + from + first;
    const uint4 g = *reinterpret_cast<const uint4*>(halves), u = *reinterpret_cast<const uint4*>(halves + columns);
    const uint32_t gs[4] = {g.x, g.y, g.z, g.w}, us[4] = {u.x, u.y, u.z, u.w};
    uint32_t out[4];
    for (int i = 0; i < 4; ++i) {
      const auto value = [&](uint32_t bits) { return float_from_half(static_cast<uint16_t>(bits)) * scale; };
      out[i] = half2_from(silu(value(gs[i])) * value(us[i]), silu(value(gs[i] >> 16)) * value(us[i] >> 16));
    }
    *reinterpret_cast<uint4*>(static_cast<uint16_t*>(y) + to + first) = make_uint4(out[0], out[1], out[2], out[3]);
  } else {
    for (int i = first; i < first + 8 && i < columns; ++i) {
      const size_t at = from + static_cast<size_t>(i);
      const float g = load_value(products, at, products_format) * scale;
      const float u = load_value(products, at + static_cast<size_t>(columns), products_format) * scale;
      store_value(y, to + static_cast<size_t>(i), format, silu(g) * u);
    }
  }
}

}  // namespace

void launch_gate(const Tensor& products, const float* factor, const Tensor& y, CudaStream& stream) {
  const unsigned blocks = static_cast<unsigned>((y.columns() + 8 * kThreads - 1) / (8 * kThreads));
  launch("gate", &gate, {dim3(blocks, static_cast<unsigned>(y.rows())), kThreads}, stream, products.data, products.format, factor, y.data,
         y.format, static_cast<int>(y.columns()));
}

}  // namespace quern::cuda
