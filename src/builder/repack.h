// The rows of one engine tensor, made from its source tensor: moved, converted, every value checked.
// Owned by one build. make_rows uses the pool's threads; its bytes do not depend on their number.
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "base/thread_pool.h"
#include "builder/rounding_error.h"
#include "formats/format.h"
#include "models/family.h"

namespace quern {

class TensorRepacker {
 public:
  // Makes `plan` in `format`; a vector is one row, always f32. `where` names the source's file in messages. The plan, its
  // source and the config must outlive this.
  TensorRepacker(const TensorPlan& plan, const ModelConfig& config, Format format, std::string where);

  size_t num_rows() const { return num_rows_; }
  size_t row_bytes() const { return row_bytes_; }
  uint64_t bytes() const { return static_cast<uint64_t>(num_rows_) * row_bytes_; }

  // Rows [begin, begin + count) read one gapless part of the source when begin is a multiple of row_granularity() and count is one too
  // or reaches the last row. The part, as bytes of the source tensor; it means nothing for a packed one.
  struct SourceRange {
    uint64_t offset, bytes;
  };
  size_t row_granularity() const;
  SourceRange source_range(size_t begin, size_t count) const;

  // The bytes of rows [begin, begin + count), as above: the source's own where nothing changes, else made in `buffer`
  // (count * row_bytes()). Throws invalid_input naming the source tensor and the first value of it that is not finite, or that the
  // format cannot hold. What rounding changed is added to `rounding`, row after row.
  std::span<const std::byte> make_rows(size_t begin, size_t count, std::span<std::byte> buffer, ThreadPool& pool,
                                       RoundingError* rounding = nullptr) const;
  bool keeps_values() const;  // no value of the source can change in this format

 private:
  size_t source_row(size_t row) const;  // where a matrix row, or a vector's value, lies in the source
  // `from`: the row's bytes in the source's format, which source_bytes() gives unless the source is packed.
  const std::byte* source_bytes(size_t row) const;
  void load(const std::byte* from, std::span<float> values) const;
  bool is_copyable(const std::byte* from, std::span<float> values) const;
  // False when a value is refused. `values` and `stored` are scratch for columns() values each.
  bool make_row(const std::byte* from, std::byte* out, std::span<float> values, std::span<float> stored, RoundingError* rounding) const;
  [[noreturn]] void refuse(size_t begin, size_t count) const;  // names the first refused value of these rows

  const TensorPlan* plan_;
  const ModelConfig* config_;
  const FormatInfo* from_;
  const FormatInfo* to_;
  bool is_vector_;
  size_t num_rows_, columns_;  // a vector: 1, its length
  size_t row_bytes_, source_row_bytes_;
  bool copies_;  // values stay in their format
  std::string where_;
};

}  // namespace quern
