#include "builder/matrix_product.h"

#include "base/error.h"

namespace quern {
namespace {

Tensor view_of(std::span<const float> values, size_t columns) {
  return {.data = reinterpret_cast<std::byte*>(const_cast<float*>(values.data())), .shape = {values.size() / columns, columns}};
}

}  // namespace

void multiply_rows(std::span<const float> x, std::span<const float> w, size_t inner, std::span<float> y, Backend& backend) {
  const size_t rows = x.size() / inner, columns = w.size() / inner;
  CHECK(y.size() == rows * columns, "{} values of {} rows, {} columns", y.size(), rows, columns);
  const Tensor parts[] = {view_of(w, inner)};
  const LoadedWeight weight = backend.load_weight({.use = WeightUse::attention_out, .parts = parts});
  const LinearArgs args{.x = view_of(x, inner), .w = &weight.weight, .y = view_of(y, columns)};
  backend.require(args);
  backend.linear(args);
}

}  // namespace quern
