// Which format each weight of an engine file is written in: what --dtype and --group-size mean, tensor by tensor. Plain data.
#pragma once
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "formats/format.h"
#include "models/family.h"

namespace quern {

// What a user asks for. The order is that of kWeightDtypeNames.
enum class WeightDtype : uint8_t { automatic, f32, f16, bf16, int8, int4 };

const char* weight_dtype_name(WeightDtype dtype);  // "auto", "f32", ...
// By any name that is in use: "auto", "f16", "fp16", "float16", "half", ... Throws usage with the list.
WeightDtype parse_weight_dtype(std::string_view name);

class WeightPolicy {
 public:
  // `group_size` is 0 (the default of the dtype), 32, 64 or 128; only int8 and int4 have groups. `has_zeros`: int4 groups have a zero
  // point of their own. Throws usage.
  WeightPolicy(WeightDtype dtype, size_t group_size, bool has_zeros = false);

  struct Choice {
    Format format;
    std::string reason;  // why this is not what the dtype asks for; empty when it is
  };
  // The format of a tensor of `columns` columns whose source is in `source`.
  Choice choose(TensorRole role, Format source, size_t columns) const;

  WeightDtype dtype() const { return dtype_; }
  size_t group_size() const { return group_size_; }  // 0: per channel, or no groups at all
  // The whole rule in one sentence, for people: printed by build, saved in the engine file.
  std::string text() const;

 private:
  Choice choose_quantised(TensorRole role, Format source, size_t columns) const;
  Format group_format(size_t group_size) const;

  WeightDtype dtype_;
  size_t group_size_;
  bool has_zeros_;
  bool keeps_codes_;  // no group was asked for: codes of as many bits stay what they are
};

}  // namespace quern
