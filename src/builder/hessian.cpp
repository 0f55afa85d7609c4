#include "builder/hessian.h"

#include <algorithm>
#include <cmath>

#include "base/thread_pool.h"
#include "builder/matrix_product.h"

namespace quern {
namespace {

constexpr size_t kStripe = 512;
constexpr size_t kPanel = 64;  // columns that are factored together

// Column j of one row, when those behind it up to `end` are known.
void solve_column(float* row, const float* pivot_row, size_t j, size_t end) {
  float value = row[j];
  for (size_t k = j + 1; k < end; ++k) value -= row[k] * pivot_row[k];
  row[j] = value / pivot_row[j];
}

}  // namespace

Hessian::Hessian(size_t columns) : columns_(columns) {
  for (size_t begin = 0; begin < columns; begin += kStripe) {
    const size_t end = std::min(columns, begin + kStripe);
    stripes_.emplace_back((end - begin) * end, 0.F);
  }
}

void Hessian::add(const Tensor& rows, Backend& backend) {
  const size_t tokens = rows.rows();
  std::vector<float> turned(columns_ * tokens);
  backend.runtime().stream().pool->parallel_for(columns_, 64, [&](size_t begin, size_t end) {
    for (size_t t = 0; t < tokens; ++t) {
      const float* row = rows.f32(t);
      for (size_t c = begin; c < end; ++c) turned[c * tokens + t] = row[c];
    }
  });
  auto* data = reinterpret_cast<std::byte*>(turned.data());
  for (size_t s = 0; s < stripes_.size(); ++s) {
    const size_t begin = s * kStripe, end = std::min(columns_, begin + kStripe);
    const Tensor inputs[] = {{.data = data, .shape = {end, tokens}}};
    const LoadedWeight w = backend.load_weight({.use = WeightUse::attention_out, .parts = inputs});
    const Tensor sums{.data = reinterpret_cast<std::byte*>(stripes_[s].data()), .shape = {end - begin, end}};
    const LinearArgs args{.x = Tensor{.data = data + begin * tokens * sizeof(float), .shape = {end - begin, tokens}},
                          .w = &w.weight,
                          .residual = sums,
                          .y = sums};
    backend.require(args);
    backend.linear(args);
  }
}

float Hessian::at(size_t i, size_t j) const {
  if (i < j) std::swap(i, j);
  const size_t s = i / kStripe, end = std::min(columns_, (s + 1) * kStripe);
  return stripes_[s][(i - s * kStripe) * end + j];
}

double Hessian::diagonal(size_t i) const { return at(i, i); }

std::vector<float> Hessian::matrix(const std::vector<size_t>& order, double damping) const {
  double mean = 0;
  for (size_t i = 0; i < columns_; ++i) mean += diagonal(i) / static_cast<double>(columns_);
  if (!(mean > 0)) mean = 1;  // inputs of zeros alone say nothing
  std::vector<float> h(columns_ * columns_);
  for (size_t i = 0; i < columns_; ++i) {
    for (size_t j = i; j < columns_; ++j) h[i * columns_ + j] = at(order[i], order[j]);
    h[i * columns_ + i] += static_cast<float>(damping * mean);
  }
  return h;
}

bool factor_upper(std::vector<float>& h, size_t n, Backend& backend) {
  ThreadPool& pool = *backend.runtime().stream().pool;
  std::vector<float> behind_rows, panel_rows, sums;  // columns behind the panel of all rows before them; of the panel's own; their products
  for (size_t end = n; end > 0;) {
    const size_t begin = end > kPanel ? end - kPanel : 0, width = end - begin, behind = n - end;
    if (behind > 0) {  // H[i, panel] -= sum over k behind the panel of U[i, k] U[panel, k].
      behind_rows.resize(end * behind);
      sums.resize(end * width);
      pool.parallel_for(end, 64, [&](size_t from, size_t to) {
        for (size_t i = from; i < to; ++i) std::copy_n(h.data() + i * n + end, behind, behind_rows.data() + i * behind);
      });
      panel_rows.assign(behind_rows.begin() + static_cast<ptrdiff_t>(begin * behind), behind_rows.end());
      multiply_rows(behind_rows, panel_rows, behind, sums, backend);
      pool.parallel_for(end, 64, [&](size_t from, size_t to) {
        for (size_t i = from; i < to; ++i) {
          for (size_t c = 0; c < width; ++c) h[i * n + begin + c] -= sums[i * width + c];
        }
      });
    }
    // Within the panel: its own square from the last column back, then all rows above it, which do not know of each other.
    for (size_t j = end; j-- > begin;) {
      const float* own = h.data() + j * n;
      float pivot = own[j];
      for (size_t k = j + 1; k < end; ++k) pivot -= own[k] * own[k];
      if (!(pivot > 0) || !std::isfinite(pivot)) return false;
      h[j * n + j] = std::sqrt(pivot);
      for (size_t i = begin; i < j; ++i) solve_column(h.data() + i * n, own, j, end);
    }
    pool.parallel_for(begin, 16, [&](size_t from, size_t to) {
      for (size_t i = from; i < to; ++i) {
        for (size_t j = end; j-- > begin;) solve_column(h.data() + i * n, h.data() + j * n, j, end);
      }
    });
    end = begin;
  }
  return true;
}

}  // namespace quern
