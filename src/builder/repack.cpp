#include "builder/repack.h"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cmath>
#include <cstring>
#include <utility>
#include <vector>

#include "base/error.h"
#include "builder/int4_scale.h"
#include "formats/list.h"

namespace quern {
namespace {

constexpr size_t kGrainValues = size_t{64} << 10;  // of a piece of work of one thread

constexpr uint32_t kInfinity = 0x7f800000U;

// The largest |value| as bits. Infinity and NaN have the largest bits of all, so one pass answers both questions.
uint32_t largest_magnitude_bits(std::span<const float> values) {
  uint32_t largest = 0;
  for (const float value : values) largest = std::max(largest, std::bit_cast<uint32_t>(value) & 0x7fffffffU);
  return largest;
}

bool are_finite(std::span<const float> values) { return largest_magnitude_bits(values) < kInfinity; }

// A 16-bit value or a 16-bit scale can only overflow from a value of this size on.
constexpr uint32_t kSmallestSuspect = std::bit_cast<uint32_t>(32768.F);

// Whether 16-bit floats whose exponent is `mask` are finite: all ones there mean infinity or NaN.
bool are_finite_16(const std::byte* row, size_t count, uint16_t mask) {
  bool finite = true;
  for (size_t i = 0; i < count; ++i) {
    uint16_t bits;
    std::memcpy(&bits, row + i * sizeof(bits), sizeof(bits));
    finite &= (bits & mask) != mask;
  }
  return finite;
}

}  // namespace

TensorRepacker::TensorRepacker(const TensorPlan& plan, const ModelConfig& config, Format format, std::string where)
    : plan_(&plan), config_(&config), from_(&format_info(plan.source->tensor.format)), to_(&format_info(format)), where_(std::move(where)) {
  const Tensor& source = plan.source->tensor;
  is_vector_ = plan.shape.rank() == 1;
  num_rows_ = is_vector_ ? 1 : plan.shape.rows();
  columns_ = plan.shape.columns();
  row_bytes_ = quern::row_bytes(format, columns_);
  source_row_bytes_ = source.row_bytes();
  copies_ = from_ == to_ && !(is_vector_ && plan.how != RowSource::whole);
  CHECK(is_vector_ || source.columns() == columns_, "{}: {} of {} source columns", plan.engine_name, columns_, source.columns());
}

size_t TensorRepacker::row_granularity() const { return !is_vector_ && plan_->how == RowSource::unpermute_heads ? config_->head_dim : 1; }

size_t TensorRepacker::source_row(size_t row) const { return quern::source_row(*plan_, *config_, row); }

const std::byte* TensorRepacker::source_bytes(size_t row) const { return plan_->source->tensor.data + source_row(row) * source_row_bytes_; }

TensorRepacker::SourceRange TensorRepacker::source_range(size_t begin, size_t count) const {
  if (is_vector_) return {0, source_row_bytes_};
  // The rows of a head stay within that head, so its first row is the first of both.
  return {source_row(begin) * source_row_bytes_, count * source_row_bytes_};
}

void TensorRepacker::load(const std::byte* from, std::span<float> values) const {
  if (!is_vector_) {
    from_->unpack(from, columns_, values.data());
    return;
  }
  const size_t count = plan_->source->tensor.columns();
  std::vector<float> all(count);
  from_->unpack(plan_->source->tensor.data, count, all.data());
  for (size_t i = 0; i < columns_; ++i) values[i] = all[source_row(i)];
}

bool TensorRepacker::is_copyable(const std::byte* from, std::span<float> values) const {
  if (from_->format == Format::f16) return are_finite_16(from, columns_, 0x7c00);
  if (from_->format == Format::bf16) return are_finite_16(from, columns_, 0x7f80);
  load(from, values);
  return are_finite(values);
}

bool TensorRepacker::keeps_values() const { return copies_ || from_ == to_ || to_->format == Format::f32; }

bool TensorRepacker::make_row(const std::byte* from, std::byte* out, std::span<float> values, std::span<float> stored,
                              RoundingError* rounding) const {
  if (copies_) {
    if (!is_copyable(from, values)) return false;
    if (out != nullptr) std::memcpy(out, from, row_bytes_);  // null: used in place
    return true;
  }
  load(from, values);
  const uint32_t largest = largest_magnitude_bits(values);
  if (largest >= kInfinity) return false;
  pack_row(*to_, values.data(), columns_, out);
  if (largest < kSmallestSuspect && rounding == nullptr) return true;
  to_->unpack(out, columns_, stored.data());
  if (rounding != nullptr) {
    for (size_t i = 0; i < columns_; ++i) rounding->add(values[i], stored[i]);
  }
  if (largest < kSmallestSuspect) return true;
  // Far outside the range of a format its largest value has become an infinity, or is cut off by more than rounding can explain.
  const uint32_t most = largest_magnitude_bits(stored);
  const double tolerance = 4 * to_->rounding_error;
  return most < kInfinity && std::bit_cast<float>(most) >= (1 - tolerance) * std::bit_cast<float>(largest);
}

std::span<const std::byte> TensorRepacker::make_rows(size_t begin, size_t count, std::span<std::byte> buffer, ThreadPool& pool,
                                                     RoundingError* rounding) const {
  CHECK(begin <= num_rows_ && count <= num_rows_ - begin, "rows {} + {} of {}", begin, count, num_rows_);
  const SourceTensor& source = *plan_->source;
  const bool in_place = copies_ && row_granularity() == 1 && !source.packed;
  CHECK(in_place || count * row_bytes_ <= buffer.size(), "{} rows of {} bytes, {} bytes of room", count, row_bytes_, buffer.size());
  std::atomic<bool> all_made = true;
  std::vector<RoundingError> changes(rounding == nullptr || keeps_values() ? 0 : count);
  pool.parallel_for(count, std::max<size_t>(1, kGrainValues / columns_), [&](size_t from, size_t to) {
    std::vector<float> values(columns_), stored(columns_);
    std::vector<std::byte> made;  // of a packed source, whose rows lie in the order of the tensor's: all of them at once
    const std::byte* rows = source.packed ? source.rows(source_row(begin + from), to - from, made) : nullptr;
    for (size_t i = from; i < to; ++i) {
      const std::byte* row = rows == nullptr ? source_bytes(begin + i) : rows + (i - from) * source_row_bytes_;
      if (!make_row(row, in_place ? nullptr : buffer.data() + i * row_bytes_, values, stored, changes.empty() ? nullptr : &changes[i])) {
        all_made = false;
        return;
      }
    }
  });
  if (!all_made) refuse(begin, count);
  for (const RoundingError& change : changes) rounding->add(change);
  if (in_place) return {source_bytes(begin), count * row_bytes_};
  return buffer.first(count * row_bytes_);
}

void TensorRepacker::refuse(size_t begin, size_t count) const {
  std::vector<float> values(columns_), stored(columns_);
  std::vector<std::byte> out(row_bytes_), made;
  const auto row_of = [&](size_t row) { return plan_->source->packed ? plan_->source->rows(source_row(row), 1, made) : source_bytes(row); };
  size_t first = num_rows_;  // in the source's order
  for (size_t row = begin; row < begin + count; ++row) {
    if (!make_row(row_of(row), out.data(), values, stored, nullptr) && (first == num_rows_ || source_row(row) < source_row(first)))
      first = row;
  }
  CHECK(first < num_rows_, "{}: no value is refused", plan_->engine_name);
  load(row_of(first), values);
  const auto bad = std::ranges::find_if(values, [](float value) { return !std::isfinite(value); });
  const auto largest = std::ranges::max_element(values, {}, [](float value) { return std::fabs(value); });
  const auto worst = static_cast<size_t>((bad != values.end() ? bad : largest) - values.begin());
  const size_t index = is_vector_ ? source_row(worst) : source_row(first) * columns_ + worst;
  const std::string place = is_vector_ ? "" : fmt::format(" at [{},{}]", source_row(first), worst);
  raise(invalid_input, "{}: {}: value {}{}: want {}, found {}", where_, escaped(plan_->source->name), index, place,
        bad != values.end() ? "a finite number" : fmt::format("one that {} can hold", to_->name), values[worst]);
}

}  // namespace quern
