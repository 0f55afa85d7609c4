// Rows for many tokens: cuBLASLt on f16. Weights in f16 rows are used as they are, all others become f16 in the workspace first, a
// stretch of kScratchBytes at a time. Its algorithm depends on the number of rows: a token's bits may differ between batch sizes here.
#include <algorithm>

#include "backend/cuda/cublaslt.h"
#include "backend/cuda/cuda_check.h"
#include "backend/cuda/expand.h"
#include "backend/cuda/kernels.h"
#include "backend/cuda/pieces.h"
#include "backend/cuda/stream.h"

namespace quern::cuda {
namespace {

constexpr size_t kMinTokens = kMaxTileTokens + 1, kTokensAtOnce = 4096;
constexpr size_t kScratchBytes = size_t{192} << 20;

bool is_half(const Weight& w) {
  return w.layout == kScaledHalf ||
         (w.layout == kCanonical && std::ranges::all_of(w.parts, [](const Tensor& part) { return part.format == Format::f16; }));
}

// 16-byte rows, and no f32 weights: those keep their precision in the generic rows.
bool suits(const Weight& w, size_t tokens, const DeviceInfo& info) {
  return info.sm >= 80 && tokens >= kMinTokens && w.in_features() % 8 == 0 &&
         std::ranges::all_of(w.parts, [](const Tensor& part) { return part.format != Format::f32 && part.rows() % 8 == 0; });
}

size_t rows_at_once(const Weight& w) { return std::max<size_t>(kScratchBytes / (w.in_features() * 2) / 8 * 8, 8); }
size_t scratch_bytes(const Weight& w) {
  if (is_half(w)) return 0;
  size_t longest = 0;
  for (const Tensor& part : w.parts) longest = std::max(longest, part.rows());
  return Workspace::aligned(std::min(longest, rows_at_once(w)) * w.in_features() * 2);
}
size_t half_bytes(size_t rows, size_t columns) { return Workspace::aligned(rows * columns * 2); }

struct Buffers {
  std::byte* library;
  uint16_t* scratch;
};

// y [tokens, all parts' features] (+)= x w^T.
void multiply(const Weight& w, const uint16_t* x, size_t tokens, const Tensor& y, bool adds, const Buffers& buffers, CudaStream& stream) {
  const size_t columns = w.in_features(), value_bytes = y.format == Format::f32 ? 4 : 2;
  Gemm gemm = {
      .x = x, .w = nullptr, .y = y.data, .rows = tokens, .columns = columns, .y_stride = y.columns(), .y_format = y.format, .adds = adds};
  size_t column = 0;
  for (size_t i = 0; i < w.parts.size(); ++i) {
    const size_t rows = w.parts[i].rows();
    if (is_half(w)) {
      gemm.factor = w.layout == kScaledHalf ? scaled_half_factor(w) : nullptr;
      gemm.w = w.parts[i].data;
      gemm.y = y.data + column * value_bytes;
      gemm.features = rows;
      while (i + 1 < w.parts.size() && w.parts[i + 1].data == w.parts[i].data + w.parts[i].rows() * columns * 2) {  // one after the other
        gemm.features += w.parts[++i].rows();
      }
      column += gemm.features;
      stream.cublaslt()->run(gemm, buffers.library, stream);
      continue;
    }
    for (size_t first = 0; first < rows; first += rows_at_once(w)) {
      gemm.features = std::min(rows_at_once(w), rows - first);
      launch_expand(w, i, first, gemm.features, buffers.scratch, stream);
      gemm.w = buffers.scratch;
      gemm.y = y.data + (column + first) * value_bytes;
      stream.cublaslt()->run(gemm, buffers.library, stream);
    }
    column += rows;
  }
}

Tensor half_tensor(Workspace& workspace, size_t rows, size_t columns, Device device) {
  return {reinterpret_cast<std::byte*>(workspace.take<uint16_t>(rows * columns)), {rows, columns}, Format::f16, device, kCanonical};
}
Buffers take_buffers(const Weight& w, Workspace& workspace) {
  std::byte* const library = workspace.take<std::byte>(Cublaslt::kWorkspaceBytes);
  return {library, workspace.take<uint16_t>(scratch_bytes(w) / 2)};
}
Tensor rows_of(Tensor t, size_t first, size_t count) {
  t.data += first * t.row_bytes();
  t.shape = {count, t.columns()};
  return t;
}
const uint16_t* halves(const Tensor& t) { return reinterpret_cast<const uint16_t*>(t.data); }

template <class Body>
void in_chunks(size_t tokens, const Body& body) {
  for (size_t first = 0; first < tokens; first += kTokensAtOnce) body(first, std::min(kTokensAtOnce, tokens - first));
}

// Where the library cannot be opened the best other row runs.
template <class Args>
void run_other(const Args& args, Stream& stream, const KernelRow<Args>& tiles, const KernelRow<Args>& generic) {
  (tiles.supports(args, *stream.info) ? tiles : generic).run(args, stream);
}

void run_linear(const LinearArgs& a, Stream& stream) {
  CudaStream& cuda = cuda_stream(stream);
  if (cuda.cublaslt() == nullptr) return run_other(a, stream, kLinearTiles, kLinearGeneric);
  if (a.residual && a.residual.data != a.y.data) {
    cuda_check(cudaMemcpyAsync(a.y.data, a.residual.data, a.y.bytes(), cudaMemcpyDeviceToDevice, cuda.handle), "linear_cublaslt");
  }
  Workspace workspace(stream);
  const Buffers buffers = take_buffers(*a.w, workspace);
  multiply(*a.w, halves(a.x), a.x.rows(), a.y, bool(a.residual), buffers, cuda);
}

void run_qkv(const QkvArgs& a, Stream& stream) {
  CudaStream& cuda = cuda_stream(stream);
  if (cuda.cublaslt() == nullptr) return run_other(a, stream, kQkvTiles, kQkvGeneric);
  in_chunks(a.h.rows(), [&](size_t first, size_t count) {
    Workspace workspace(stream);
    const Buffers buffers = take_buffers(*a.w, workspace);
    const Tensor x = half_tensor(workspace, count, a.h.columns(), a.h.device);
    const Tensor products = half_tensor(workspace, count, a.w->out_features(), a.h.device);
    launch_norm(rows_of(a.h, first, count), nullptr, a.norm, a.norm_epsilon, x, cuda);
    multiply(*a.w, halves(x), count, products, false, buffers, cuda);
    QkvArgs chunk = a;
    chunk.q = rows_of(a.q, first, count);
    chunk.batch.positions += first;
    chunk.batch.slots += first;
    if (chunk.batch.rope_variants != nullptr) chunk.batch.rope_variants += first;
    launch_qkv_finish(chunk, products, nullptr, cuda);
  });
}

void run_gate_up(const GateUpArgs& a, Stream& stream) {
  CudaStream& cuda = cuda_stream(stream);
  if (cuda.cublaslt() == nullptr) return run_other(a, stream, kGateUpTiles, kGateUpGeneric);
  in_chunks(a.h.rows(), [&](size_t first, size_t count) {
    Workspace workspace(stream);
    const Buffers buffers = take_buffers(*a.w, workspace);
    const Tensor x = half_tensor(workspace, count, a.h.columns(), a.h.device);
    const Tensor products = half_tensor(workspace, count, a.w->out_features(), a.h.device);
    launch_norm(rows_of(a.h, first, count), nullptr, a.norm, a.norm_epsilon, x, cuda);
    multiply(*a.w, halves(x), count, products, false, buffers, cuda);
    launch_gate(products, nullptr, rows_of(a.y, first, count), cuda);
  });
}

void run_head(const HeadArgs& a, Stream& stream) {
  CudaStream& cuda = cuda_stream(stream);
  if (cuda.cublaslt() == nullptr) return run_other(a, stream, kHeadTiles, kHeadGeneric);
  in_chunks(static_cast<size_t>(a.batch.num_sample_rows), [&](size_t first, size_t count) {
    Workspace workspace(stream);
    const Buffers buffers = take_buffers(*a.w, workspace);
    const Tensor x = half_tensor(workspace, count, a.h.columns(), a.h.device);
    launch_norm(a.h, a.batch.sample_rows + first, a.norm, a.norm_epsilon, x, cuda);
    multiply(*a.w, halves(x), count, rows_of(a.logits, first, count), false, buffers, cuda);
  });
}

size_t bytes_for(const Weight& w, size_t tokens, bool has_products) {
  const size_t rows = std::min(tokens, kTokensAtOnce);
  return Cublaslt::kWorkspaceBytes + scratch_bytes(w) + half_bytes(rows, w.in_features()) +
         (has_products ? half_bytes(rows, w.out_features()) : 0);
}

}  // namespace

const KernelRow<LinearArgs> kLinearCublaslt = {
    "linear_cublaslt",
    [](const LinearArgs& a, const DeviceInfo& info) {
      return suits(*a.w, a.x.rows(), info) && a.x.format == Format::f16 && a.y.format == Format::f32 && !a.bias;
    },
    run_linear, [](const LinearArgs& a, const DeviceInfo&) { return Cublaslt::kWorkspaceBytes + scratch_bytes(*a.w); }};
const KernelRow<QkvArgs> kQkvCublaslt = {"qkv_cublaslt",
                                         [](const QkvArgs& a, const DeviceInfo& info) { return suits(*a.w, a.h.rows(), info); }, run_qkv,
                                         [](const QkvArgs& a, const DeviceInfo&) { return bytes_for(*a.w, a.h.rows(), true); }};
const KernelRow<GateUpArgs> kGateUpCublaslt = {
    "gate_up_cublaslt", [](const GateUpArgs& a, const DeviceInfo& info) { return suits(*a.w, a.h.rows(), info); }, run_gate_up,
    [](const GateUpArgs& a, const DeviceInfo&) { return bytes_for(*a.w, a.h.rows(), true); }};
const KernelRow<HeadArgs> kHeadCublaslt = {
    "head_cublaslt",
    [](const HeadArgs& a, const DeviceInfo& info) { return suits(*a.w, static_cast<size_t>(a.batch.num_sample_rows), info); }, run_head,
    [](const HeadArgs& a, const DeviceInfo&) { return bytes_for(*a.w, static_cast<size_t>(a.batch.num_sample_rows), false); }};

}  // namespace quern::cuda
