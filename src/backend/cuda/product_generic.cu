// y = x w^T for weights of any format and layout: one warp an output feature, kTokens rows of x at once. Plain f32 sums in one order,
// whatever the number of rows. For what the faster rows do not take: odd shapes, GGUF's formats, f32.
#include "backend/cuda/launch.h"
#include "backend/cuda/pieces.h"
#include "backend/cuda/weight_reader.cuh"

namespace quern::cuda {
namespace {

constexpr int kTokens = 8, kWarps = 4;

struct ProductArgs {
  const void* x;
  Format x_format;
  int tokens, columns, features;
  const float *bias, *residual;
  size_t residual_stride;
  void* y;
  Format y_format;
  size_t y_stride, first_column;
};

template <class Reader>
__global__ void __launch_bounds__(kWarps* kWarp) product(Reader w, const __grid_constant__ ProductArgs a) {
  wait_for_previous();
  let_next_start();
  const int feature = static_cast<int>(blockIdx.x) * kWarps + static_cast<int>(threadIdx.x) / kWarp,
            lane = static_cast<int>(threadIdx.x) % kWarp;
  const int first = static_cast<int>(blockIdx.y) * kTokens, tokens = min(kTokens, a.tokens - first);
  if (feature >= a.features) return;
  float sums[kTokens] = {};
  for (int piece = lane; piece * Reader::kPiece < a.columns; piece += kWarp) {
    float values[Reader::kPiece];
    w.read(static_cast<size_t>(feature), piece, values);
    const int k = piece * Reader::kPiece, count = min(Reader::kPiece, a.columns - k);
    for (int t = 0; t < kTokens; ++t) {
      if (t >= tokens) break;
      const size_t at = static_cast<size_t>(first + t) * static_cast<size_t>(a.columns) + static_cast<size_t>(k);
      float sum = sums[t];
      for (int i = 0; i < count; ++i) sum = fmaf(values[i], load_value(a.x, at + static_cast<size_t>(i), a.x_format), sum);
      sums[t] = sum;
    }
  }
  for (int t = 0; t < kTokens; ++t) {
    float sum = warp_sum(sums[t]);
    if (lane != 0 || t >= tokens) continue;
    const auto row = static_cast<size_t>(first + t), column = static_cast<size_t>(feature);
    if (a.bias != nullptr) sum += a.bias[feature];
    if (a.residual != nullptr) sum += a.residual[row * a.residual_stride + column];
    store_value(a.y, row * a.y_stride + a.first_column + column, a.y_format, sum);
  }
}

}  // namespace

void launch_product(const Product& p, CudaStream& stream) {
  const Tensor& part = p.w->parts[p.part];
  const auto floats = [](const Tensor& t) { return reinterpret_cast<const float*>(t.data); };
  const ProductArgs args = {.x = p.x.data,
                            .x_format = p.x.format,
                            .tokens = static_cast<int>(p.x.rows()),
                            .columns = static_cast<int>(part.columns()),
                            .features = static_cast<int>(part.rows()),
                            .bias = floats(p.bias),
                            .residual = floats(p.residual),
                            .residual_stride = p.residual.columns(),
                            .y = p.y.data,
                            .y_format = p.y.format,
                            .y_stride = p.y.columns(),
                            .first_column = p.first_column};
  const dim3 blocks((static_cast<unsigned>(args.features) + kWarps - 1) / kWarps,
                    (static_cast<unsigned>(args.tokens) + kTokens - 1) / kTokens);
  with_reader(*p.w, p.part, [&]<class Reader>(const Reader& reader) {
    launch("product_generic", &product<Reader>, {blocks, kWarps * kWarp}, stream, reader, args);
  });
}

}  // namespace quern::cuda
