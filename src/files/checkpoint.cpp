#include "files/checkpoint.h"

namespace quern {

const Tensor& SourceTensor::weight(std::string_view where) const {
  if (tensor) return tensor;
  std::string shape;
  for (const uint64_t dim : dims) shape += fmt::format("{}{}", shape.empty() ? "" : ",", dim);
  raise(invalid_input, "{}: {}: want a weight of at most 4 dimensions in a format of docs/formats.md, file has {} [{}]", where,
        escaped(name), dtype, shape);
}

const SourceTensor* Checkpoint::find(const std::string& name) const {
  const auto found = tensors_.find(name);
  return found == tensors_.end() ? nullptr : &found->second;
}

}  // namespace quern
