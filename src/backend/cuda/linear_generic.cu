// The rows that take everything: norm, plain products and finish as launches of their own, activations between them in f32, kTokens rows
// of the batch at a time so that the workspace stays small.
#include <algorithm>

#include "backend/cuda/kernels.h"
#include "backend/cuda/pieces.h"

namespace quern::cuda {
namespace {

constexpr size_t kTokens = 64;

Tensor f32_tensor(Workspace& workspace, size_t rows, size_t columns, Device device) {
  return {reinterpret_cast<std::byte*>(workspace.take<float>(rows * columns)), {rows, columns}, Format::f32, device, kCanonical};
}
// A normed row and its products, for as many rows as are in the workspace at once.
size_t bytes_for(size_t tokens, size_t columns, size_t features) {
  const size_t rows = std::min(tokens, kTokens);
  return Workspace::aligned(rows * columns * sizeof(float)) + Workspace::aligned(rows * features * sizeof(float));
}

// Rows first .. first + count - 1 of t.
Tensor rows_of(Tensor t, size_t first, size_t count) {
  t.data += first * t.row_bytes();
  t.shape = {count, t.columns()};
  return t;
}

template <class Body>
void in_chunks(size_t tokens, const Body& body) {
  for (size_t first = 0; first < tokens; first += kTokens) body(first, std::min(kTokens, tokens - first));
}

void run_linear(const LinearArgs& a, Stream& stream) {
  launch_product({.x = a.x, .w = a.w, .bias = a.bias, .residual = a.residual, .y = a.y}, cuda_stream(stream));
}

void run_qkv(const QkvArgs& a, Stream& stream) {
  CudaStream& cuda = cuda_stream(stream);
  in_chunks(a.h.rows(), [&](size_t first, size_t count) {
    Workspace workspace(stream);
    const Tensor x = f32_tensor(workspace, count, a.h.columns(), a.h.device);
    const Tensor products = f32_tensor(workspace, count, a.w->out_features(), a.h.device);
    launch_norm(rows_of(a.h, first, count), nullptr, a.norm, a.norm_epsilon, x, cuda);
    size_t column = 0;
    for (size_t part = 0; part < a.w->parts.size(); column += a.w->parts[part].rows(), ++part) {
      launch_product({.x = x, .w = a.w, .part = part, .y = products, .first_column = column}, cuda);
    }
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
  in_chunks(a.h.rows(), [&](size_t first, size_t count) {
    Workspace workspace(stream);
    const Tensor x = f32_tensor(workspace, count, a.h.columns(), a.h.device);
    const Tensor products = f32_tensor(workspace, count, a.w->out_features(), a.h.device);
    launch_norm(rows_of(a.h, first, count), nullptr, a.norm, a.norm_epsilon, x, cuda);
    launch_product({.x = x, .w = a.w, .part = 0, .y = products}, cuda);
    launch_product({.x = x, .w = a.w, .part = 1, .y = products, .first_column = a.w->parts[0].rows()}, cuda);
    launch_gate(products, nullptr, rows_of(a.y, first, count), cuda);
  });
}

void run_head(const HeadArgs& a, Stream& stream) {
  in_chunks(static_cast<size_t>(a.batch.num_sample_rows), [&](size_t first, size_t count) {
    Workspace workspace(stream);
    const Tensor x = f32_tensor(workspace, count, a.h.columns(), a.h.device);
    launch_norm(a.h, a.batch.sample_rows + first, a.norm, a.norm_epsilon, x, cuda_stream(stream));
    launch_product({.x = x, .w = a.w, .y = rows_of(a.logits, first, count)}, cuda_stream(stream));
  });
}

}  // namespace

const KernelRow<LinearArgs> kLinearGeneric = {"linear_generic", [](const LinearArgs&, const DeviceInfo&) { return true; }, run_linear};
const KernelRow<QkvArgs> kQkvGeneric = {
    "qkv_generic", [](const QkvArgs&, const DeviceInfo&) { return true; }, run_qkv,
    [](const QkvArgs& a, const DeviceInfo&) { return bytes_for(a.h.rows(), a.h.columns(), a.w->out_features()); }};
const KernelRow<GateUpArgs> kGateUpGeneric = {
    "gate_up_generic", [](const GateUpArgs&, const DeviceInfo&) { return true; }, run_gate_up,
    [](const GateUpArgs& a, const DeviceInfo&) { return bytes_for(a.h.rows(), a.h.columns(), a.w->out_features()); }};
const KernelRow<HeadArgs> kHeadGeneric = {
    "head_generic", [](const HeadArgs&, const DeviceInfo&) { return true; }, run_head,
    [](const HeadArgs& a, const DeviceInfo&) { return bytes_for(static_cast<size_t>(a.batch.num_sample_rows), a.h.columns(), 0); }};

}  // namespace quern::cuda
