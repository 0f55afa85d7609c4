// The second moments X^T X of a matrix's inputs, and their triangular factor: what a quantiser needs to know of the inputs.
// Owned by one build; one thread.
#pragma once
#include <vector>

#include "backend/backend.h"

namespace quern {

class Hessian {
 public:
  explicit Hessian(size_t columns);
  // Rows [tokens, columns] in float32.
  void add(const Tensor& rows, Backend& backend);

  size_t columns() const { return columns_; }
  double diagonal(size_t i) const;
  // H[order[i], order[j]] plus `damping` times the mean of the diagonal on the diagonal, row by row; the upper half is what counts.
  std::vector<float> matrix(const std::vector<size_t>& order, double damping) const;

 private:
  float at(size_t i, size_t j) const;

  size_t columns_;
  std::vector<std::vector<float>> stripes_;  // kStripe rows each: [rows, columns up to and with the stripe's own]
};

// U upper triangular with H = U U^T, in place of H [n, n], of which the upper half is read. Columns are made in one fixed order of
// additions, on the backend's threads. Returns false when H is not positive definite.
bool factor_upper(std::vector<float>& h, size_t n, Backend& backend);

}  // namespace quern
