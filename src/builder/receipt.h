// The quality receipt of an engine file: what rounding did to each tensor, and how far the engine's predictions are from its source's on
// the fixed text. Plain data and its JSON; any thread.
#pragma once
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/json.h"
#include "builder/quality_run.h"
#include "builder/rounding_error.h"

namespace quern {

struct Receipt {
  std::string source_xxh3, method, calibration_xxh3;  // the last is empty when nothing was calibrated
  std::map<std::string, RoundingError> errors;        // by engine name, of every tensor whose values changed
  std::optional<Quality> quality;
  std::string not_measured;  // why there is no quality

  Json json() const;
};

// What the file's receipt says was measured; nothing when it has none, or none of this form. A receipt is text from a file: never throws.
std::optional<Quality> measured_quality(const Json& receipt);
std::optional<std::string> receipt_text_xxh3(const Json& receipt);  // of the text that it was measured on
// For people, a line each.
std::vector<std::string> receipt_lines(const Json& receipt);

}  // namespace quern
