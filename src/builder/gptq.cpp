#include "builder/gptq.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <numeric>

#include "base/error.h"
#include "base/float16.h"
#include "base/thread_pool.h"
#include "builder/group_scale.h"
#include "builder/hessian.h"
#include "builder/matrix_product.h"
#include "formats/int4.h"
#include "formats/list.h"

namespace quern {
namespace {

constexpr double kDampings[] = {0.01, 0.1, 1};  // of the mean of the diagonal; the first that can be factored
constexpr size_t kRowGrain = 4;
constexpr size_t kLargestGroup = 128;
constexpr size_t kPanel = 256;  // columns: the errors of those before it are added by one product

struct FeedbackForm {
  Format format;
  size_t group;
  int bits;
  bool has_zero;
};
constexpr FeedbackForm kForms[] = {{Format::i4g32, 32, 4, false}, {Format::i4g64, 64, 4, false}, {Format::i4g128, 128, 4, false},
                                   {Format::i4g32z, 32, 4, true}, {Format::i4g64z, 64, 4, true}, {Format::i4g128z, 128, 4, true},
                                   {Format::q5_0, 32, 5, false},  {Format::i8g32, 32, 8, false}};

const FeedbackForm* form_of(Format format) {
  const auto* form = std::ranges::find(kForms, format, &FeedbackForm::format);
  return form == std::end(kForms) ? nullptr : form;
}

// Works through blocks of 32 columns; within a block the rows do not know of each other.
class MatrixRounder {
 public:
  MatrixRounder(const FeedbackPlan& plan, const FeedbackForm& form, std::span<float> values, size_t num_rows, std::byte* rows)
      : plan_(plan),
        form_(form),
        values_(values),
        num_rows_(num_rows),
        rows_(rows),
        row_bytes_(row_bytes(form.format, plan.columns)),
        errors_(num_rows * plan.columns),
        scales_(num_rows * (plan.columns / form.group)),
        costs_(num_rows) {}

  double round(Backend& backend) {
    ThreadPool& pool = *backend.runtime().stream().pool;
    const size_t n = plan_.columns;
    std::vector<bool> is_open(n / form_.group);
    std::vector<float> before, factor;  // errors of the columns before the panel; their factors on the panel's columns, turned
    for (size_t begin = 0; begin < n; begin += kPanel) {
      const size_t width = std::min(kPanel, n - begin);
      panel_begin_ = begin;
      panel_width_ = width;
      targets_.assign(num_rows_ * width, 0.F);
      if (begin > 0 && !plan_.factor.empty()) {
        before.resize(num_rows_ * begin);
        factor.resize(width * begin);
        pool.parallel_for(num_rows_, kRowGrain, [&](size_t from, size_t to) {
          for (size_t r = from; r < to; ++r) std::copy_n(errors_.data() + r * n, begin, before.data() + r * begin);
        });
        pool.parallel_for(width, 16, [&](size_t from, size_t to) {
          for (size_t j = 0; j < begin; ++j) {
            for (size_t c = from; c < to; ++c) factor[c * begin + j] = plan_.factor[j * n + begin + c];
          }
        });
        multiply_rows(before, factor, begin, targets_, backend);
      }
      for (size_t block = begin; block < begin + width; block += kFeedbackGroup) {
        const size_t group = plan_.order[block] / form_.group;
        const bool opens = !is_open[group];
        is_open[group] = true;
        pool.parallel_for(num_rows_, kRowGrain, [&](size_t from, size_t to) {
          for (size_t r = from; r < to; ++r) round_block(r, block, group, opens);
        });
      }
    }
    return std::accumulate(costs_.begin(), costs_.end(), 0.0);
  }

 private:
  void round_block(size_t r, size_t begin, size_t group, bool opens) {
    const size_t n = plan_.columns;
    float* values = values_.data() + r * n;
    float* errors = errors_.data() + r * n;
    float targets[kFeedbackGroup];
    const float* fed = targets_.data() + r * panel_width_ + (begin - panel_begin_);
    for (size_t c = 0; c < kFeedbackGroup; ++c) targets[c] = values[plan_.order[begin + c]] + fed[c];
    const bool feeds = !plan_.factor.empty();
    for (size_t j = panel_begin_; feeds && j < begin; ++j) {
      const float* factor = plan_.factor.data() + j * n + begin;
      for (size_t c = 0; c < kFeedbackGroup; ++c) targets[c] += errors[j] * factor[c];
    }
    GroupScale& scale = scales_[r * (n / form_.group) + group];
    if (opens) scale = find_scale(values, begin, group, targets);
    for (size_t c = 0; c < kFeedbackGroup; ++c) {
      const size_t at = begin + c, column = plan_.order[at];
      const int code = scale.code(targets[c]);
      const float meant = scale.value(code), off = targets[c] - meant;
      costs_[r] += static_cast<double>(plan_.weights[at]) * off * off;
      errors[at] = values[column] - meant;
      for (size_t later = c + 1; feeds && later < kFeedbackGroup; ++later)
        targets[later] += errors[at] * plan_.factor[at * n + begin + later];
      write(rows_ + r * row_bytes_, column, scale, code);
      values[column] = meant;
    }
  }

  // Of a group of more than 32 columns the later ones have no targets yet: their values stand in.
  GroupScale find_scale(const float* values, size_t begin, size_t group, const float* targets) const {
    std::array<float, kLargestGroup> wanted;
    std::copy_n(values + group * form_.group, form_.group, wanted.begin());
    for (size_t c = 0; c < kFeedbackGroup; ++c) wanted[plan_.order[begin + c] % form_.group] = targets[c];
    return find_group_scale(wanted.data(), plan_.column_weights.data() + group * form_.group, form_.group, form_.bits, form_.has_zero);
  }

  void write(std::byte* row, size_t column, const GroupScale& scale, int code) const {
    const size_t head = form_.has_zero ? 3 : 2, place = column % form_.group;
    std::byte* block = row + column / form_.group * format_info(form_.format).block_bytes;
    const F16Bits bits = f32_to_f16(scale.scale);
    std::memcpy(block, &bits, sizeof(bits));
    if (form_.bits == 8) {
      block[2 + place] = static_cast<std::byte>(static_cast<int8_t>(code - scale.zero));
      return;
    }
    if (form_.has_zero) block[2] = static_cast<std::byte>(scale.zero);
    if (form_.bits == 4) return set_int4_code(block + head, place, static_cast<uint8_t>(code));
    uint32_t fifth;  // q5_0: the fifth bits of all 32 codes before their low nibbles
    std::memcpy(&fifth, block + 2, sizeof(fifth));
    fifth = (fifth & ~(1U << place)) | static_cast<uint32_t>(code >> 4) << place;
    std::memcpy(block + 2, &fifth, sizeof(fifth));
    set_int4_code(block + 6, place, static_cast<uint8_t>(code & 15));
  }

  const FeedbackPlan& plan_;
  const FeedbackForm& form_;
  std::span<float> values_;
  size_t num_rows_;
  std::byte* rows_;
  size_t row_bytes_;
  size_t panel_begin_ = 0, panel_width_ = 0;  // of the columns whose targets know of all columns before the panel
  std::vector<float> targets_;                // [rows, panel]: what those columns' errors add
  std::vector<float> errors_;                 // [rows, columns in the order]: value - what was written
  std::vector<GroupScale> scales_;            // [rows, groups]
  std::vector<double> costs_;
};

}  // namespace

FeedbackPlan plan_feedback(const Hessian& hessian, Backend& backend) {
  FeedbackPlan plan{.columns = hessian.columns()};
  const size_t n = plan.columns, groups = n / kFeedbackGroup;
  CHECK(n % kFeedbackGroup == 0, "{} columns", n);
  std::vector<double> power(groups);
  for (size_t i = 0; i < n; ++i) power[i / kFeedbackGroup] += hessian.diagonal(i);
  std::vector<size_t> by_power(groups);
  std::iota(by_power.begin(), by_power.end(), size_t{0});
  std::ranges::stable_sort(by_power, [&](size_t a, size_t b) { return power[a] > power[b]; });
  for (const size_t group : by_power) {
    for (size_t i = 0; i < kFeedbackGroup; ++i) plan.order.push_back(group * kFeedbackGroup + i);
  }
  bool is_factored = false;
  for (const double damping : kDampings) {
    plan.factor = hessian.matrix(plan.order, damping);
    is_factored = factor_upper(plan.factor, n, backend);
    if (is_factored) break;
  }
  CHECK(is_factored, "moments of {} inputs", n);
  plan.weights.resize(n);
  plan.column_weights.resize(n);
  std::vector<float> diagonal(n);
  for (size_t k = 0; k < n; ++k) {
    diagonal[k] = plan.factor[k * n + k];
    plan.weights[k] = diagonal[k] * diagonal[k];
    plan.column_weights[plan.order[k]] = plan.weights[k];
  }
  backend.runtime().stream().pool->parallel_for(n, 64, [&](size_t begin, size_t end) {
    for (size_t j = begin; j < end; ++j) {
      for (size_t k = j; k < n; ++k) plan.factor[j * n + k] /= diagonal[k];
    }
  });
  return plan;
}

FeedbackPlan scaled_plan(const FeedbackPlan& plan, std::span<const float> factors) {
  FeedbackPlan scaled = plan;
  const size_t n = plan.columns;
  for (size_t k = 0; k < n; ++k) {
    const float own = factors[plan.order[k]];
    scaled.weights[k] /= own * own;
    scaled.column_weights[plan.order[k]] = scaled.weights[k];
    if (plan.factor.empty()) continue;
    for (size_t later = k; later < n; ++later) scaled.factor[k * n + later] *= factors[plan.order[later]] / own;
  }
  return scaled;
}

FeedbackPlan without_feedback(const FeedbackPlan& plan) {
  // The moments' diagonal: of H = F D F^T, F the unit triangle.
  FeedbackPlan alone{.columns = plan.columns, .order = plan.order, .factor = {}, .weights = {}, .column_weights = plan.column_weights};
  alone.weights.resize(plan.columns);
  for (size_t j = 0; j < plan.columns; ++j) {
    double diagonal = 0;
    for (size_t k = j; k < plan.columns; ++k) {
      const double factor = plan.factor[j * plan.columns + k];
      diagonal += factor * factor * plan.weights[k];
    }
    alone.weights[j] = static_cast<float>(diagonal);
    alone.column_weights[plan.order[j]] = alone.weights[j];
  }
  return alone;
}

bool has_feedback_form(Format format, size_t columns) {
  const FeedbackForm* form = form_of(format);
  return form != nullptr && columns % form->group == 0;
}

RoundedMatrix round_with_feedback(std::span<float> values, size_t num_rows, Format format, const FeedbackPlan& plan, Backend& backend) {
  const FeedbackForm* form = form_of(format);
  CHECK(form != nullptr && values.size() == num_rows * plan.columns, "{} values in {}", values.size(), format_name(format));
  RoundedMatrix result{.rows = std::vector<std::byte>(num_rows * row_bytes(format, plan.columns)), .cost = 0};
  result.cost = MatrixRounder(plan, *form, values, num_rows, result.rows.data()).round(backend);
  return result;
}

}  // namespace quern
