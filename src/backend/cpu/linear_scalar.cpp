// Matrix products of every format in the canonical layout, plain C++: what the other rows are checked against, and what runs on a
// processor without vector rows. A weight row is unpacked once for all rows of x.
#include <vector>

#include "backend/cpu/kernels.h"
#include "backend/cpu/qkv_finish.h"
#include "backend/cpu/scalar_math.h"
#include "base/thread_pool.h"

namespace quern::cpu {
namespace {

constexpr size_t kGrain = 8;  // output features a thread takes at once

bool is_canonical(const Weight& w) { return w.layout == kCanonical; }

float* workspace(Stream& stream, size_t count) {
  CHECK(stream.workspace_bytes >= count * sizeof(float), "workspace of {} bytes, want {}", stream.workspace_bytes, count * sizeof(float));
  return reinterpret_cast<float*>(stream.workspace);
}

// out(m, n, x[m] . w[n]) for every row m of x [rows, columns] and feature n of `w`.
template <class Out>
void multiply(const float* x, size_t rows, const Tensor& w, Stream& stream, const Out& out) {
  const size_t columns = w.columns(), bytes = w.row_bytes();
  with_format(w.format, [&]<class S>() {
    stream.pool->parallel_for(w.rows(), kGrain, [&](size_t begin, size_t end) {
      std::vector<float> row(columns);
      for (size_t n = begin; n < end; ++n) {
        S::unpack(w.data + n * bytes, columns, row.data());
        for (size_t m = 0; m < rows; ++m) out(m, n, dot(x + m * columns, row.data(), columns));
      }
    });
  });
}

void normalize(const Tensor& h, const int32_t* rows, size_t count, const Tensor& norm, float epsilon, Stream& stream, float* x) {
  const size_t columns = h.columns();
  stream.pool->parallel_for(count, 1, [&](size_t begin, size_t end) {
    for (size_t m = begin; m < end; ++m)
      rmsnorm(h.f32(rows == nullptr ? m : static_cast<size_t>(rows[m])), norm.f32(), epsilon, columns, x + m * columns);
  });
}

void run_linear(const LinearArgs& a, Stream& stream) {
  multiply(a.x.f32(), a.x.rows(), a.w->parts[0], stream, [&](size_t m, size_t n, float sum) {
    if (a.bias) sum += a.bias.f32()[n];
    if (a.residual) sum += a.residual.f32(m)[n];
    a.y.f32(m)[n] = sum;
  });
}

void run_qkv(const QkvArgs& a, Stream& stream) {
  const size_t tokens = a.h.rows(), hidden = a.h.columns(), features = a.w->out_features();
  float* x = workspace(stream, tokens * (hidden + features));
  float* products = x + tokens * hidden;
  normalize(a.h, nullptr, tokens, a.norm, a.norm_epsilon, stream, x);
  size_t first = 0;
  for (const Tensor& part : a.w->parts) {
    multiply(x, tokens, part, stream, [&](size_t m, size_t n, float sum) { products[m * features + first + n] = sum; });
    first += part.rows();
  }
  stream.pool->parallel_for(tokens, 1, [&](size_t begin, size_t end) {
    for (size_t token = begin; token < end; ++token) finish_qkv_row(a, token, products + token * features);
  });
}

void run_gate_up(const GateUpArgs& a, Stream& stream) {
  const size_t tokens = a.h.rows();
  float* x = workspace(stream, tokens * a.h.columns());
  normalize(a.h, nullptr, tokens, a.norm, a.norm_epsilon, stream, x);
  multiply(x, tokens, a.w->parts[0], stream, [&](size_t m, size_t n, float gate) { a.y.f32(m)[n] = silu(gate); });
  multiply(x, tokens, a.w->parts[1], stream, [&](size_t m, size_t n, float up) { a.y.f32(m)[n] *= up; });
}

void run_head(const HeadArgs& a, Stream& stream) {
  const auto rows = static_cast<size_t>(a.batch.num_sample_rows);
  float* x = workspace(stream, rows * a.h.columns());
  normalize(a.h, a.batch.sample_rows, rows, a.norm, a.norm_epsilon, stream, x);
  multiply(x, rows, a.w->parts[0], stream, [&](size_t m, size_t n, float sum) { a.logits.f32(m)[n] = sum; });
}

size_t qkv_workspace(const QkvArgs& a, const DeviceInfo&) { return a.h.rows() * (a.h.columns() + a.w->out_features()) * sizeof(float); }
size_t gate_up_workspace(const GateUpArgs& a, const DeviceInfo&) { return a.h.rows() * a.h.columns() * sizeof(float); }
size_t head_workspace(const HeadArgs& a, const DeviceInfo&) {
  return static_cast<size_t>(a.batch.num_sample_rows) * a.h.columns() * sizeof(float);
}

}  // namespace

const KernelRow<LinearArgs> kLinearScalar = {"linear_scalar", [](const LinearArgs& a, const DeviceInfo&) { return is_canonical(*a.w); },
                                             run_linear};
const KernelRow<QkvArgs> kQkvScalar = {"qkv_scalar", [](const QkvArgs& a, const DeviceInfo&) { return is_canonical(*a.w); }, run_qkv,
                                       qkv_workspace};
const KernelRow<GateUpArgs> kGateUpScalar = {"gate_up_scalar", [](const GateUpArgs& a, const DeviceInfo&) { return is_canonical(*a.w); },
                                             run_gate_up, gate_up_workspace};
const KernelRow<HeadArgs> kHeadScalar = {"head_scalar", [](const HeadArgs& a, const DeviceInfo&) { return is_canonical(*a.w); }, run_head,
                                         head_workspace};

}  // namespace quern::cpu
