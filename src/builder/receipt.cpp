#include "builder/receipt.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "base/error.h"
#include "base/parse.h"

namespace quern {
namespace {

constexpr size_t kIdDigits = 6;  // hexadecimal, of one of source_choices
constexpr int kFormVersion = 1;

// With so many significant digits as mean something: what differs between machines lies behind them.
double rounded(double value, int digits) {
  if (value == 0 || !std::isfinite(value)) return 0;
  const double unit = std::pow(10.0, digits - 1 - static_cast<int>(std::floor(std::log10(std::fabs(value)))));
  return std::round(value * unit) / unit;
}

// "blk.3.q" -> {"q", 3}; {"embed", 0}.
std::pair<std::string, size_t> kind_and_layer(const std::string& name) {
  if (!name.starts_with("blk.")) return {name, 0};
  const size_t dot = name.find('.', 4);
  CHECK(dot != name.npos, "tensor {}", name);
  return {name.substr(dot + 1), parse_number<size_t>(std::string_view(name).substr(4, dot - 4)).value_or(0)};
}

Json errors_json(const std::map<std::string, RoundingError>& errors) {
  std::map<std::string, std::vector<double>> kinds;
  for (const auto& [name, error] : errors) {
    const auto [kind, layer] = kind_and_layer(name);
    std::vector<double>& layers = kinds[kind];
    layers.resize(std::max(layers.size(), layer + 1));
    layers[layer] = rounded(error.relative(), 3);
  }
  return kinds;
}

const Json* member(const Json& object, const char* key) {
  if (!object.is_object()) return nullptr;
  const auto found = object.find(key);
  return found == object.end() ? nullptr : &*found;
}

std::optional<double> number(const Json& object, const char* key) {
  const Json* value = member(object, key);
  if (value == nullptr || !value->is_number()) return std::nullopt;
  return value->get<double>();
}

std::string text(const Json& object, const char* key) {
  const Json* value = member(object, key);
  return value != nullptr && value->is_string() ? value->get<std::string>() : "";
}

}  // namespace

Json Receipt::json() const {
  Json out = {{"version", kFormVersion}, {"source_xxh3", source_xxh3}, {"method", method}, {"tensor_errors", errors_json(errors)}};
  if (!calibration_xxh3.empty()) out["calibration_xxh3"] = calibration_xxh3;
  if (errors.empty()) {
    out["values"] = "the source's own";
    return out;
  }
  if (!quality) {
    out["not_measured"] = not_measured;
    return out;
  }
  std::string choices;
  for (const uint32_t id : quality->source_choices) choices += fmt::format("{:0{}x}", id, kIdDigits);
  out["quality"] = {{"text_xxh3", quality_text_xxh3()},
                    {"tokens", quality->tokens},
                    {"perplexity", rounded(quality->perplexity, 5)},
                    {"source_perplexity", rounded(quality->source_perplexity, 5)},
                    {"kl_mean", rounded(quality->kl_mean, 3)},
                    {"kl_p99", rounded(quality->kl_p99, 3)},
                    {"top1_agreement", rounded(quality->top1_agreement, 4)},
                    {"source_choices", choices}};
  return out;
}

std::optional<Quality> measured_quality(const Json& receipt) {
  const Json* found = member(receipt, "quality");
  if (found == nullptr) return std::nullopt;
  const std::optional<double> tokens = number(*found, "tokens"), perplexity = number(*found, "perplexity"),
                              source = number(*found, "source_perplexity"), mean = number(*found, "kl_mean"),
                              p99 = number(*found, "kl_p99"), top1 = number(*found, "top1_agreement");
  if (!tokens || !perplexity || !source || !mean || !p99 || !top1 || !(*tokens >= 1 && *tokens <= 1e9)) return std::nullopt;
  Quality quality{.tokens = static_cast<size_t>(*tokens),
                  .perplexity = *perplexity,
                  .source_perplexity = *source,
                  .kl_mean = *mean,
                  .kl_p99 = *p99,
                  .top1_agreement = *top1};
  const std::string choices = text(*found, "source_choices");
  if (choices.size() != quality.tokens * kIdDigits) return std::nullopt;
  for (size_t i = 0; i < quality.tokens; ++i) {
    uint32_t id = 0;
    const char* begin = choices.data() + i * kIdDigits;
    const auto [end, error] = std::from_chars(begin, begin + kIdDigits, id, 16);
    if (error != std::errc() || end != begin + kIdDigits) return std::nullopt;
    quality.source_choices.push_back(id);
  }
  return quality;
}

std::optional<std::string> receipt_text_xxh3(const Json& receipt) {
  const Json* found = member(receipt, "quality");
  if (found == nullptr) return std::nullopt;
  return text(*found, "text_xxh3");
}

std::vector<std::string> receipt_lines(const Json& receipt) {
  if (receipt.is_null()) return {"none"};
  if (!text(receipt, "values").empty()) return {"exact: every value is " + escaped(text(receipt, "values"), 100)};
  std::vector<std::string> lines;
  if (const std::optional<Quality> quality = measured_quality(receipt)) {
    lines.push_back(
        fmt::format("perplexity {:.5g}, source {:.5g} ({:+.2f} %), KL mean {:.3g}, 99 % {:.3g}, same first choice {:.2f} % ({} tokens)",
                    quality->perplexity, quality->source_perplexity, 100 * (quality->perplexity / quality->source_perplexity - 1),
                    quality->kl_mean, quality->kl_p99, 100 * quality->top1_agreement, quality->tokens));
  } else if (!text(receipt, "not_measured").empty()) {
    lines.push_back("not measured: " + escaped(text(receipt, "not_measured"), 300));
  }
  const Json* errors = member(receipt, "tensor_errors");
  if (errors != nullptr && errors->is_object()) {
    std::string shown;
    for (const auto& [kind, layers] : errors->items()) {
      double most = 0;
      for (const Json& layer : layers) most = std::max(most, layer.is_number() ? layer.get<double>() : 0);
      shown += fmt::format("{}{} {:.4g}", shown.empty() ? "" : ", ", escaped(kind, 60), most);
      if (shown.size() > 1000) break;
    }
    if (!shown.empty()) lines.push_back("largest rounding error of a tensor, as share of its values: " + shown);
  }
  if (lines.empty()) lines.push_back(escaped(receipt.dump(-1, ' ', false, Json::error_handler_t::replace), 2000));
  return lines;
}

}  // namespace quern
