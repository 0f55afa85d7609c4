// Rounding of a matrix with error feedback (GPTQ, in the form of LDLQ): each column is rounded after the errors of the columns before it,
// as far as they act on the same outputs, were added to it. Pure functions of their arguments, on the backend's threads.
#pragma once
#include <cstddef>
#include <span>
#include <vector>

#include "backend/backend.h"
#include "formats/format.h"

namespace quern {

// The second moments of a matrix's inputs, factored once for all matrices that read them.
struct FeedbackPlan {
  size_t columns = 0;
  std::vector<size_t> order;  // columns in the order in which they are rounded: whole groups of kFeedbackGroup
  // [columns, columns]: unit upper triangle; [j, k] is what an error of column j adds to column k's target. Empty: nothing is added.
  std::vector<float> factor;
  std::vector<float> weights;         // [columns]: what a squared error of a target costs, by place in the order
  std::vector<float> column_weights;  // the same by column
};

inline constexpr size_t kFeedbackGroup = 32;

class Hessian;
// Groups of 32 columns by falling power of their inputs. Throws internal when the moments cannot be factored at any damping.
FeedbackPlan plan_feedback(const Hessian& hessian, Backend& backend);

// The plan of inputs that were divided by `factors`, one a column.
FeedbackPlan scaled_plan(const FeedbackPlan& plan, std::span<const float> factors);
// The same weights of columns, each rounded by itself.
FeedbackPlan without_feedback(const FeedbackPlan& plan);

// Whether `format` can be rounded so: i4g32, i4g64, i4g128 and their forms with zero points, q5_0 and i8g32, for a multiple of the group in
// columns.
bool has_feedback_form(Format format, size_t columns);

struct RoundedMatrix {
  std::vector<std::byte> rows;  // in the format
  double cost = 0;              // power of the error of all outputs over the calibration inputs
};
// `values` [rows, plan.columns]; on return they are what the rows mean.
RoundedMatrix round_with_feedback(std::span<float> values, size_t num_rows, Format format, const FeedbackPlan& plan, Backend& backend);

}  // namespace quern
