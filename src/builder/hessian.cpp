#include "builder/hessian.h"

#include <algorithm>
#include <cmath>

#include "base/thread_pool.h"

namespace quern {
namespace {

constexpr size_t kStripe = 512;
constexpr size_t kPanel = 32;  // columns that are factored together

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

bool factor_upper(std::vector<float>& h, size_t n, ThreadPool& pool) {
  std::vector<float> panel;  // [columns behind the panel, kPanel]: the panel's rows turned, so that sums run along its columns
  for (size_t end = n; end > 0;) {
    const size_t begin = end > kPanel ? end - kPanel : 0, width = end - begin, behind = n - end;
    panel.assign(behind * kPanel, 0.F);
    for (size_t c = 0; c < width; ++c) {
      for (size_t k = 0; k < behind; ++k) panel[k * kPanel + c] = h[(begin + c) * n + end + k];
    }
    // H[i, panel] -= sum over k behind the panel of U[i, k] U[panel, k].
    pool.parallel_for(end, 16, [&](size_t from, size_t to) {
      for (size_t i = from; i < to; ++i) {
        float sums[kPanel] = {};
        const float* row = h.data() + i * n + end;
        for (size_t k = 0; k < behind; ++k) {
          const float value = row[k];
          const float* other = panel.data() + k * kPanel;
          for (size_t c = 0; c < kPanel; ++c) sums[c] += value * other[c];
        }
        for (size_t c = 0; c < width; ++c) h[i * n + begin + c] -= sums[c];
      }
    });
    // Within the panel, from its last column back.
    for (size_t j = end; j-- > begin;) {
      float pivot = h[j * n + j];
      for (size_t k = j + 1; k < end; ++k) pivot -= h[j * n + k] * h[j * n + k];
      if (!(pivot > 0) || !std::isfinite(pivot)) return false;
      const float diagonal = std::sqrt(pivot);
      h[j * n + j] = diagonal;
      const float* own = h.data() + j * n;
      pool.parallel_for(j, 256, [&](size_t from, size_t to) {
        for (size_t i = from; i < to; ++i) {
          float* row = h.data() + i * n;
          float value = row[j];
          for (size_t k = j + 1; k < end; ++k) value -= row[k] * own[k];
          row[j] = value / diagonal;
        }
      });
    }
    end = begin;
  }
  return true;
}

}  // namespace quern
