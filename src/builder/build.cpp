#include "builder/build.h"

#include <algorithm>
#include <filesystem>
#include <optional>
#include <span>

#include "base/clock.h"
#include "base/error.h"
#include "base/mapped_file.h"
#include "base/thread_pool.h"
#include "base/version.h"
#include "builder/calibrated_weights.h"
#include "builder/format_rules.h"
#include "builder/receipt.h"
#include "builder/sensitivity.h"
#include "builder/shipped_texts.h"
#include "builder/source_model.h"
#include "builder/tensor_stream.h"
#include "files/engine_file.h"
#include "formats/list.h"

namespace quern {
namespace {

constexpr Format kBudgetFormats[] = {Format::i4g32, Format::q5_0, Format::i8g32};  // of --target-bpw, by bits
constexpr uint64_t kMostMeasuredWeights = 2'000'000'000;  // of a model whose quality is measured unless that is asked for
constexpr uint64_t kMaxCalibrationBytes = uint64_t{64} << 20;

// What the checkpoint says of itself, wherever it lies: its path is no part of an engine file.
std::string source_text(const Checkpoint& checkpoint) {
  if (checkpoint.kind() == Checkpoint::Kind::gguf) {
    const std::optional<std::string> name = JsonFields(checkpoint.config(), escaped(checkpoint.path())).optional_text({"general.name"});
    return name ? "GGUF: " + escaped(*name) : "GGUF";
  }
  return "Hugging Face checkpoint";
}

// Files that the output may not be: everything that is read.
std::vector<std::string> input_paths(const Checkpoint& checkpoint) {
  std::vector<std::string> paths = {checkpoint.path()};
  for (const auto& file : checkpoint.files()) paths.push_back(file->path());
  return paths;
}

EngineMetadata describe(const SourceModel& model, const WeightPolicy& policy, const WeightFormats& layout) {
  EngineMetadata metadata;
  metadata.model = model.config.to_json();
  metadata.generation = model.prompting.generation;
  metadata.chat = model.prompting.chat;
  metadata.build = Json{{"quern", kVersion},
                        {"source", source_text(model.checkpoint)},
                        {"dtype", weight_dtype_name(policy.dtype())},
                        {"group_size", policy.group_size()},
                        {"policy", layout.record}};
  return metadata;
}

std::string calibration_text_of(const BuildOptions& options) {
  if (options.calibration.empty()) return std::string(calibration_text());
  std::string text = read_text_file(options.calibration, kMaxCalibrationBytes);
  if (text.empty()) raise(invalid_input, "{}: want a text, found an empty file", escaped(options.calibration));
  return text;
}

// The policy's formats, but for those of --keep, and those that a budget was spent on.
WeightFormats choose_formats(const SourceModel& model, const WeightPolicy& policy, const BuildOptions& options) {
  const std::vector<KeepRule> rules = parse_keep_rules(options.keep);
  std::map<std::string, Format> chosen = apply_keep_rules(rules, model.plans);
  if (options.target_bits == 0) return lay_out(model, policy, chosen);
  if (policy.dtype() != WeightDtype::int4 || options.group_size != 0 || options.has_zeros) {
    raise(usage, "--target-bpw: want --dtype int4 and neither --group-size nor --asymmetric");
  }
  const auto is_free = [&](size_t plan) { return !chosen.contains(model.plans[plan].engine_name); };
  const std::vector<TensorCosts> costs =
      measure_sensitivity(model, calibration_text_of(options), kBudgetFormats, is_free, options.num_threads, [&] {
        if (options.progress) options.progress({.tensor = "sensitivity", .num_tensors = model.plans.size()});
      });
  uint64_t fixed = lay_out(model, policy, chosen).bytes;
  for (const TensorCosts& tensor : costs) {
    const TensorPlan& plan = model.plans[tensor.plan];
    const Format format = policy.choose(plan.role, plan.source->tensor.format, plan.shape.columns()).format;
    fixed -= static_cast<uint64_t>(plan.shape.rows()) * row_bytes(format, plan.shape.columns());
  }
  const auto most = static_cast<uint64_t>(options.target_bits / 8 * static_cast<double>(model.num_parameters()));
  const std::vector<Format> formats = spend_bytes(costs, most > fixed ? most - fixed : 0);
  for (size_t i = 0; i < costs.size(); ++i) chosen[model.plans[costs[i].plan].engine_name] = formats[i];
  WeightFormats layout = lay_out(model, policy, chosen);
  layout.record["rule"] =
      fmt::format("i4g32, q5_0 and i8g32 spread by measured sensitivity, at most {} bits a weight; vectors f32", options.target_bits);
  return layout;
}

struct MethodName {
  const char* name;
  CalibrationMethod method;
};
constexpr MethodName kCalibratedMethods[] = {
    {"gptq", CalibrationMethod::gptq}, {"awq", CalibrationMethod::awq}, {"auto", CalibrationMethod::best}};

std::unique_ptr<CalibratedWeights> make_calibrated(const SourceModel& model, const WeightPolicy& policy, const WeightFormats& layout,
                                                   const BuildOptions& options) {
  const auto* method = std::ranges::find(kCalibratedMethods, options.method, &MethodName::name);
  const bool has_groups = policy.dtype() == WeightDtype::int4 || (policy.dtype() == WeightDtype::int8 && policy.group_size() == 32);
  if (options.method == "rtn" || (options.method == "auto" && !has_groups)) {
    if (!options.calibration.empty() && options.target_bits == 0)
      raise(usage, "--calibration: want --method gptq, awq or auto, or --target-bpw, found neither");
    return nullptr;
  }
  if (method == std::end(kCalibratedMethods))
    raise(usage, "--method: want rtn, gptq, awq or auto, found '{}'", escaped(options.method, 60));
  if (!has_groups) {
    raise(usage, "--method {}: want --dtype int4, or int8 with --group-size 32, found {}", options.method,
          weight_dtype_name(policy.dtype()));
  }
  CalibrationOptions calibration;
  calibration.method = method->method;
  calibration.text = calibration_text_of(options);
  return std::make_unique<CalibratedWeights>(model, layout.formats, calibration, options.num_threads);
}

// Why the quality of this engine is not measured; empty when it is.
std::string reason_not_to_measure(const SourceModel& model, const WeightFormats& layout, const BuildOptions& options) {
  bool changes = false;
  for (size_t i = 0; i < model.plans.size() && !changes; ++i) {
    const TensorPlan& plan = model.plans[i];
    changes = !TensorRepacker(plan, model.config, layout.formats[i], plan.engine_name).keeps_values();
  }
  if (!changes) return "no value changes";
  if (!options.receipt.value_or(true)) return "--no-receipt";
  if (!options.receipt && model.num_parameters() > kMostMeasuredWeights) {
    return fmt::format("{:.0f} M weights: more than {} M are measured with --receipt only",
                       static_cast<double>(model.num_parameters()) / 1e6, kMostMeasuredWeights / 1'000'000);
  }
  return "";
}

// Rows of the engine's tensors outside the layers, made once more.
QualityRun::Rows rows_outside_layers(const SourceModel& model, const WeightFormats& layout, ThreadPool& pool) {
  const auto room = std::make_shared<std::vector<std::byte>>();
  return [&model, &layout, &pool, room](size_t plan, size_t begin, size_t count) {
    const TensorPlan& tensor = model.plans[plan];
    const TensorRepacker repacker(tensor, model.config, layout.formats[plan], escaped(tensor.engine_name));
    if (room->size() < count * repacker.row_bytes()) room->resize(count * repacker.row_bytes());
    return repacker.make_rows(begin, count, *room, pool);
  };
}

// A name that is not an engine's may be some other file that was named by mistake.
void refuse_foreign_output(const std::string& path) {
  std::error_code error;
  if (!path.ends_with(".quern") && std::filesystem::is_regular_file(path, error)) {
    raise(usage, "--output: {}: exists and is not named *.quern: it is not replaced", escaped(path));
  }
}

// A model that computes no numbers is built all the same.
void finish_quality(QualityRun& run, const SourceModel& model, Receipt& receipt) {
  try {
    receipt.quality = run.finish();
  } catch (const Error& error) {
    if (error.code() != invalid_input) throw;
    receipt.not_measured = error.message();
  }
  for (const TensorPlan& plan : model.plans) release_source(model, plan);
}

}  // namespace

BuildResult build_engine(const BuildOptions& options) {
  const double start = monotonic_seconds();
  const WeightPolicy policy(parse_weight_dtype(options.dtype), options.group_size, options.has_zeros);
  const SourceModel model = read_source_model(options.source, {.gguf_qwen1_long_context = options.gguf_qwen1_long_context});
  const WeightFormats layout = choose_formats(model, policy, options);
  EngineMetadata metadata = describe(model, policy, layout);
  const std::vector<std::byte> tokenizer = model.tokenizer.packed();

  EngineFileWriter writer(options.output, engine_layout(model, layout, tokenizer.size()), input_paths(model.checkpoint));
  refuse_foreign_output(options.output);  // after the writer, which knows whether it is an input
  writer.write(tokenizer);
  ThreadPool pool(options.num_threads);
  const std::unique_ptr<CalibratedWeights> calibrated = make_calibrated(model, policy, layout, options);
  Receipt receipt{.not_measured = reason_not_to_measure(model, layout, options)};
  std::unique_ptr<QualityRun> quality;
  if (receipt.not_measured.empty()) {
    quality = std::make_unique<QualityRun>(model, layout.formats, rows_outside_layers(model, layout, pool), options.num_threads);
  }
  TensorStream stream(model, layout, pool, options, calibrated.get(), quality.get());
  stream.write_all(writer);
  metadata.build["method"] = options.method;
  if (calibrated) metadata.build["calibration"] = calibrated->record();
  metadata.build["source_xxh3"] = stream.source_xxh3();
  receipt.source_xxh3 = stream.source_xxh3();
  receipt.method = options.method;
  if (calibrated) receipt.calibration_xxh3 = calibrated->text_xxh3();
  receipt.errors = stream.errors();
  if (quality) finish_quality(*quality, model, receipt);
  metadata.receipt = receipt.json();
  writer.finish(metadata);

  BuildResult result;
  result.file_bytes = MappedFile(options.output).size();
  result.weight_bytes = layout.bytes;
  result.source_bytes = model.source_bytes();
  result.num_weights = model.num_parameters();
  result.bits_per_weight = 8.0 * static_cast<double>(result.weight_bytes) / static_cast<double>(result.num_weights);
  result.policy = layout.record;
  result.receipt = metadata.receipt;
  result.notes = model.prompting.notes;
  result.seconds = monotonic_seconds() - start;
  return result;
}

}  // namespace quern
