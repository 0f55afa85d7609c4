#include "files/packed_tensors.h"

#include <fmt/ranges.h>

#include <algorithm>

#include "base/error.h"
#include "formats/block.h"

namespace quern {
namespace {

constexpr uint64_t kMaxSide = uint64_t{1} << 31;

std::string text_of(const SourceTensor& tensor) { return fmt::format("{} [{}]", escaped(tensor.dtype, 20), fmt::join(tensor.dims, ",")); }

bool is_one_of(std::string_view dtype, PackedTensors::Dtypes dtypes) { return std::ranges::find(dtypes, dtype) != dtypes.end(); }

}  // namespace

std::vector<std::string> PackedTensors::modules(std::string_view ending, Dtypes dtypes) const {
  std::vector<std::string> found;
  for (const auto& [name, tensor] : tensors_) {
    if (!name.ends_with(ending) || (!dtypes.empty() && !is_one_of(tensor.dtype, dtypes))) continue;
    found.push_back(name.substr(0, name.size() - ending.size()));
  }
  return found;
}

const SourceTensor* PackedTensors::find(const std::string& module, const char* ending) const {
  const auto found = tensors_.find(module + ending);
  return found == tensors_.end() ? nullptr : &found->second;
}

const SourceTensor& PackedTensors::want(const std::string& module, const char* ending, Dtypes dtypes) const {
  const SourceTensor* tensor = find(module, ending);
  if (tensor == nullptr) {
    raise(invalid_input, "{}: {}{}: want {}, found no such tensor", where_, escaped(module, 80), ending, fmt::join(dtypes, " or "));
  }
  if (!is_one_of(tensor->dtype, dtypes)) {
    raise(invalid_input, "{}: {}: want {}, file has {}", where_, escaped(tensor->name, 80), fmt::join(dtypes, " or "), text_of(*tensor));
  }
  return *tensor;
}

const SourceTensor& PackedTensors::want(const std::string& module, const char* ending, Dtypes dtypes, const Dims& dims) const {
  const SourceTensor& tensor = want(module, ending, dtypes);
  if (tensor.dims != dims) {
    raise(invalid_input, "{}: {}: want [{}], file has {}", where_, escaped(tensor.name, 80), fmt::join(dims, ","), text_of(tensor));
  }
  return tensor;
}

const SourceTensor& PackedTensors::want_matrix(const std::string& module, const char* ending, Dtypes dtypes) const {
  const SourceTensor& tensor = want(module, ending, dtypes);
  const auto is_side = [](uint64_t dim) { return dim >= 1 && dim <= kMaxSide; };
  if (tensor.dims.size() != 2 || !std::ranges::all_of(tensor.dims, is_side)) {
    raise(invalid_input, "{}: {}: want a matrix, file has {}", where_, escaped(tensor.name, 80), text_of(tensor));
  }
  return tensor;
}

std::vector<uint32_t> PackedTensors::groups(const std::string& module, const char* ending, uint64_t columns, uint64_t group_size,
                                            uint64_t num_groups) const {
  std::vector<uint32_t> groups(columns);
  const SourceTensor* index = find(module, ending);
  if (index == nullptr) {
    for (uint64_t c = 0; c < columns; ++c) groups[c] = static_cast<uint32_t>(c / group_size);
    return groups;
  }
  want(module, ending, kWords, {columns});
  for (uint64_t c = 0; c < columns; ++c) {
    groups[c] = load_u32(index->bytes.data() + c * sizeof(uint32_t));
    if (groups[c] >= num_groups) {
      raise(invalid_input, "{}: {}: value {}: want a group below {}, found {}", where_, escaped(index->name, 80), c, num_groups,
            static_cast<int32_t>(groups[c]));
    }
  }
  return groups;
}

void PackedTensors::join(const std::string& module, std::string_view dtype, PackedMatrix::Source source,
                         std::initializer_list<const char*> endings) {
  const std::string name = module + ".weight";
  SourceTensor joined;
  joined.name = name;
  joined.dtype = dtype;
  joined.dims = {source.rows, source.columns};
  for (const char* ending : endings) {
    const SourceTensor* part = find(module, ending);
    if (part == nullptr) continue;
    if (source.parts.empty()) joined.file = part->file, joined.offset = part->offset;
    source.parts.push_back({part->bytes, part->file, part->offset});
  }
  joined.packed = std::make_shared<const PackedMatrix>(std::move(source), fmt::format("{}: {}", where_, escaped(module, 80)));
  joined.tensor = {.shape = {joined.dims[0], joined.dims[1]}, .format = joined.packed->format()};
  for (const char* ending : endings) tensors_.erase(module + ending);
  if (!tensors_.emplace(name, std::move(joined)).second) {
    raise(invalid_input, "{}: {}: want one weight, found a plain one beside the packed one", where_, escaped(name, 80));
  }
}

void PackedTensors::drop(std::string_view ending) {
  std::erase_if(tensors_, [&](const auto& entry) { return entry.first.ends_with(ending); });
}

}  // namespace quern
