// The tensors of a quantized checkpoint while the parts of each weight are put together: "X.qweight", "X.scales", ... become "X.weight".
// Lives while a folder is read.
#pragma once
#include <array>
#include <cstdint>
#include <initializer_list>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "files/checkpoint.h"
#include "files/packed_matrix.h"

namespace quern {

class PackedTensors {
 public:
  using Dims = std::vector<uint64_t>;
  using Dtypes = std::span<const std::string_view>;
  static constexpr std::array<std::string_view, 3> kFloats = {"F16", "BF16", "F32"};

  static constexpr std::array<std::string_view, 1> kWords = {"I32"}, kFloat8 = {"F8_E4M3"};

  // `where` names the folder and the method in messages.
  PackedTensors(std::map<std::string, SourceTensor>& tensors, std::string where) : tensors_(tensors), where_(std::move(where)) {}

  const std::string& where() const { return where_; }
  // Every X of a tensor "X<ending>", of one of the dtypes when some are given.
  std::vector<std::string> modules(std::string_view ending, Dtypes dtypes = {}) const;
  const SourceTensor* find(const std::string& module, const char* ending) const;
  // The tensor, which must be there with one of these dtypes; throws invalid_input naming it, with what is wanted and what is there.
  const SourceTensor& want(const std::string& module, const char* ending, Dtypes dtypes) const;
  const SourceTensor& want(const std::string& module, const char* ending, Dtypes dtypes, const Dims& dims) const;
  // Rows and columns of a matrix whose sides are at least 1 and at most 2^31.
  const SourceTensor& want_matrix(const std::string& module, const char* ending, Dtypes dtypes) const;
  // "X.g_idx", or columns / group_size without it; each below num_groups.
  std::vector<uint32_t> groups(const std::string& module, const char* ending, uint64_t columns, uint64_t group_size,
                               uint64_t num_groups) const;

  // Puts "X.weight" in the place of the parts X + ending, those that are there.
  void join(const std::string& module, std::string_view dtype, PackedMatrix::Source source, std::initializer_list<const char*> endings);
  // Drops every tensor with this ending: what only other programs use.
  void drop(std::string_view ending);

 private:
  std::map<std::string, SourceTensor>& tensors_;
  std::string where_;
};

}  // namespace quern
