// Factors between two linear maps that cancel out (AWQ): columns of a matrix are multiplied before they are rounded, and what produces
// their inputs is divided, so that the channels of much input are rounded more finely. Which factors: by what the rounded matrix then does
// to the outputs. Pure functions of their arguments, on the backend's threads.
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "builder/gptq.h"

namespace quern {

// A matrix that is to be rounded, [rows, plan.columns].
struct ScaledReader {
  std::span<const float> values;
  size_t rows;
  Format format;
};

struct ChannelScales {
  double exponent = 0;         // factors are the inputs' rms to this power; 0: all are 1
  std::vector<float> factors;  // [plan.columns]
};

enum class Rounding : uint8_t { by_itself, with_feedback };

// Of a fixed list of exponents the one with the least error of the outputs, on rows spread over the matrices. `power` [columns]: of the
// inputs; channels of the same producer have the same one.
ChannelScales choose_channel_scales(std::span<const ScaledReader> readers, const FeedbackPlan& plan, std::span<const double> power,
                                    Rounding rounding, Backend& backend);

// Columns times the factors.
void multiply_columns(std::span<float> values, std::span<const float> factors);

// Rounds values whose columns were multiplied by `factors`; the cost is that of outputs, whichever way it was rounded.
RoundedMatrix round_scaled(std::span<float> values, size_t num_rows, Format format, const FeedbackPlan& plan,
                           std::span<const float> factors, Rounding rounding, Backend& backend);

}  // namespace quern
