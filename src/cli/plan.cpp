// quern plan SOURCE: the memory that a model takes, before anything is built or loaded.
#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/mapped_file.h"
#include "builder/source_model.h"
#include "cli/model_options.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/verbs.h"
#include "engine/memory_plan.h"
#include "files/engine_file.h"

namespace quern {

extern const Verb kPlanVerb;

namespace {

struct PlanOptions {
  ModelOptions run;  // run.model is SOURCE
  std::string dtype = "auto";
  size_t group_size = 0;
  bool json = false;
};

struct PlannedModel {
  ModelConfig config;
  std::vector<EngineTensorInfo> tensors;
  std::string dtype;
};

PlannedModel read_model(const PlanOptions& options) {
  const std::string& path = options.run.model;
  std::error_code error;
  if (std::filesystem::is_directory(path, error) || MappedFile(path).text().starts_with("GGUF")) {
    const SourceModel model = read_source_model(path);
    const WeightPolicy policy(parse_weight_dtype(options.dtype), options.group_size);
    return {model.config, engine_layout(model, lay_out(model, policy), model.tokenizer.packed().size()), weight_dtype_name(policy.dtype())};
  }
  const std::shared_ptr<EngineFile> file = EngineFile::open(path);
  if (options.dtype != "auto" || options.group_size != 0) raise(usage, "--dtype: want none for an engine file, which is built already");
  return {ModelConfig::from_json(file->metadata().model, escaped(path)), file->tensors(), "the engine's own"};
}

std::string row(const char* name, uint64_t bytes, const std::string& what) {
  return fmt::format("{:<10}{:>16} bytes {:>9.1f} MiB  {}\n", name, bytes, static_cast<double>(bytes) / 0x1p20, what);
}

int show_plan(const PlanOptions& options) {
  const PlannedModel model = read_model(options);
  const std::unique_ptr<Backend> backend = open_backend(options.run);
  EngineOptions engine = options.run.engine;
  engine.max_num_seqs = options.run.max_num_seqs.value_or(1);
  engine.kv_format = kv_format_named(options.run.kv_dtype);
  if (engine.max_model_len == 0) engine.max_model_len = model.config.max_position_embeddings;
  const MemoryPlan plan = plan_memory(model.config, model.tensors, *backend, engine);
  if (options.json) {
    const Json out = {{"source", options.run.model},
                      {"dtype", model.dtype},
                      {"device", backend->info().name},
                      {"context", plan.context},
                      {"parallel", plan.parallel},
                      {"weights_bytes", plan.weights},
                      {"unread_bytes", plan.embedding_in_place},
                      {"kv_cache_bytes", plan.kv_cache},
                      {"kv_bytes_per_token", plan.kv_bytes_per_token},
                      {"kv_blocks", plan.kv_blocks},
                      {"workspace_bytes", plan.workspace()},
                      {"activation_bytes", plan.activations},
                      {"other_bytes", plan.other},
                      {"total_bytes", plan.total()}};
    write_stdout(out.dump(2, ' ', false, Json::error_handler_t::replace) + "\n");
    return 0;
  }
  const std::string unread =
      plan.embedding_in_place == 0
          ? ""
          : row("- unread", plan.embedding_in_place, "of the weights: embedding rows that stay in the file until their token occurs");
  write_stdout(row("weights", plan.weights, model.dtype) + unread +
               row("KV cache", plan.kv_cache,
                   fmt::format("{} x {} tokens, {} bytes a token", plan.parallel, plan.context, plan.kv_bytes_per_token)) +
               row("workspace", plan.workspace(), "activations, kernels, tokenizer, program") +
               row("total", plan.total(), backend->info().name));
  return 0;
}

VerbWork declare(CLI::App& app) {
  const auto options = std::make_shared<PlanOptions>();
  add_text(app, "SOURCE", options->run.model, "SOURCE", "Engine file, GGUF file, or Hugging Face folder")->required();
  add_text(app, "--dtype", options->dtype, "auto|f32|f16|bf16|int8|int4", "As `quern build` would write it");
  add_number<size_t>(app, "--group-size", options->group_size, 0, 128, "As for `quern build`");
  add_device_options(app, options->run);
  add_engine_options(app, options->run);
  app.add_flag("--json", options->json, "JSON, for programs");
  return [options] { return show_plan(*options); };
}

}  // namespace

const Verb kPlanVerb = {"plan", "Add up the memory that a model will take", &declare};

}  // namespace quern
