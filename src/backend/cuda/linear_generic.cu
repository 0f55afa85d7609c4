// The rows that take everything: norm, plain products and finish as launches of their own, activations between them in f32.
#include "backend/cuda/kernels.h"
#include "backend/cuda/pieces.h"

namespace quern::cuda {
namespace {

Tensor f32_tensor(Workspace& workspace, size_t rows, size_t columns, Device device) {
  return {reinterpret_cast<std::byte*>(workspace.take<float>(rows * columns)), {rows, columns}, Format::f32, device, kCanonical};
}
size_t f32_bytes(size_t rows, size_t columns) { return Workspace::aligned(rows * columns * sizeof(float)); }

void run_linear(const LinearArgs& a, Stream& stream) {
  launch_product({.x = a.x, .w = a.w, .bias = a.bias, .residual = a.residual, .y = a.y}, cuda_stream(stream));
}

void run_qkv(const QkvArgs& a, Stream& stream) {
  CudaStream& cuda = cuda_stream(stream);
  Workspace workspace(stream);
  const Tensor x = f32_tensor(workspace, a.h.rows(), a.h.columns(), a.h.device);
  const Tensor products = f32_tensor(workspace, a.h.rows(), a.w->out_features(), a.h.device);
  launch_norm(a.h, nullptr, a.norm, a.norm_epsilon, x, cuda);
  size_t first = 0;
  for (size_t part = 0; part < a.w->parts.size(); first += a.w->parts[part].rows(), ++part) {
    launch_product({.x = x, .w = a.w, .part = part, .y = products, .first_column = first}, cuda);
  }
  launch_qkv_finish(a, products, nullptr, cuda);
}

void run_gate_up(const GateUpArgs& a, Stream& stream) {
  CudaStream& cuda = cuda_stream(stream);
  Workspace workspace(stream);
  const Tensor x = f32_tensor(workspace, a.h.rows(), a.h.columns(), a.h.device);
  const Tensor products = f32_tensor(workspace, a.h.rows(), a.w->out_features(), a.h.device);
  launch_norm(a.h, nullptr, a.norm, a.norm_epsilon, x, cuda);
  launch_product({.x = x, .w = a.w, .part = 0, .y = products}, cuda);
  launch_product({.x = x, .w = a.w, .part = 1, .y = products, .first_column = a.w->parts[0].rows()}, cuda);
  launch_gate(products, nullptr, a.y, cuda);
}

void run_head(const HeadArgs& a, Stream& stream) {
  Workspace workspace(stream);
  const Tensor x = f32_tensor(workspace, static_cast<size_t>(a.batch.num_sample_rows), a.h.columns(), a.h.device);
  launch_norm(a.h, a.batch.sample_rows, a.norm, a.norm_epsilon, x, cuda_stream(stream));
  launch_product({.x = x, .w = a.w, .y = a.logits}, cuda_stream(stream));
}

}  // namespace

const KernelRow<LinearArgs> kLinearGeneric = {"linear_generic", [](const LinearArgs&, const DeviceInfo&) { return true; }, run_linear};
const KernelRow<QkvArgs> kQkvGeneric = {
    "qkv_generic", [](const QkvArgs&, const DeviceInfo&) { return true; }, run_qkv,
    [](const QkvArgs& a, const DeviceInfo&) { return f32_bytes(a.h.rows(), a.h.columns()) + f32_bytes(a.h.rows(), a.w->out_features()); }};
const KernelRow<GateUpArgs> kGateUpGeneric = {"gate_up_generic", [](const GateUpArgs&, const DeviceInfo&) { return true; }, run_gate_up,
                                              [](const GateUpArgs& a, const DeviceInfo&) {
                                                return f32_bytes(a.h.rows(), a.h.columns()) + f32_bytes(a.h.rows(), a.w->out_features());
                                              }};
const KernelRow<HeadArgs> kHeadGeneric = {
    "head_generic", [](const HeadArgs&, const DeviceInfo&) { return true; }, run_head,
    [](const HeadArgs& a, const DeviceInfo&) { return f32_bytes(static_cast<size_t>(a.batch.num_sample_rows), a.h.columns()); }};

}  // namespace quern::cuda
