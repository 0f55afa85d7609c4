#include "builder/model_info.h"

#include <map>
#include <optional>
#include <string>
#include <utility>

#include "base/error.h"
#include "formats/list.h"
#include "text/tokenizer.h"

namespace quern {
namespace {

// Sums over the weights of a file.
struct WeightTotals {
  uint64_t parameters = 0, bytes = 0;
  struct FormatTotal {
    uint64_t tensors = 0, bytes = 0;
  };
  std::map<std::string, FormatTotal> formats;

  void add(const Shape& shape, Format format, uint64_t tensor_bytes) {
    parameters += static_cast<uint64_t>(shape.rows()) * shape.columns();
    bytes += tensor_bytes;
    FormatTotal& total = formats[format_name(format)];
    ++total.tensors;
    total.bytes += tensor_bytes;
  }
  void write(Json& out) const {
    out["num_parameters"] = parameters;
    out["weight_bytes"] = bytes;
    out["bits_per_weight"] = parameters == 0 ? 0.0 : 8.0 * static_cast<double>(bytes) / static_cast<double>(parameters);
    out["formats"] = Json::object();
    for (const auto& [name, total] : formats) out["formats"][name] = {{"tensors", total.tensors}, {"bytes", total.bytes}};
  }
};

Json shape_json(const Shape& shape) {
  Json out = Json::array();
  for (size_t i = 0; i < shape.rank(); ++i) out.push_back(shape[i]);
  return out;
}

Json tokenizer_info(const Tokenizer& tokenizer) {
  return Json{{"origin", tokenizer.data().origin}, {"num_tokens", tokenizer.num_tokens()}};
}

}  // namespace

Json engine_info(const EngineFile& file, bool with_tensors) {
  const EngineMetadata& metadata = file.metadata();
  const std::string where = escaped(file.path());
  const ModelConfig config = ModelConfig::from_json(metadata.model, where);
  std::optional<std::string> chat;
  if (!metadata.chat.is_null()) chat = JsonFields(metadata.chat, where + ": chat").optional_text({"format"});
  Json out = {{"path", file.path()},
              {"kind", "engine"},
              {"file_bytes", file.file().size()},
              {"format_version", kEngineFormatVersion},
              {"model", config.to_json()},
              {"chat", Json{{"format", chat ? Json(*chat) : Json(nullptr)}}},
              {"generation", metadata.generation},
              {"build", metadata.build},
              {"receipt", metadata.receipt}};
  out["family"] = config.family;
  out["tokenizer"] = tokenizer_info(Tokenizer::unpack(file.tokenizer_bytes(), where));
  WeightTotals totals;
  Json tensors = Json::array();
  for (const EngineTensorInfo& tensor : file.tensors()) {
    if (!tensor.is_raw) totals.add(tensor.shape, tensor.format, tensor.bytes);
    tensors.push_back({{"name", tensor.name},
                       {"format", tensor.is_raw ? "bytes" : format_name(tensor.format)},
                       {"shape", shape_json(tensor.shape)},
                       {"offset", tensor.offset},
                       {"bytes", tensor.bytes},
                       {"xxh3", fmt::format("{:016x}", tensor.xxh3)}});
  }
  totals.write(out);
  if (with_tensors) out["tensors"] = std::move(tensors);
  return out;
}

Json source_info(const SourceModel& model, bool with_tensors) {
  Json out = {
      {"path", model.checkpoint.path()},          {"kind", model.checkpoint.kind() == Checkpoint::Kind::gguf ? "gguf" : "hugging_face"},
      {"file_bytes", model.source_bytes()},       {"family", model.family->name},
      {"model", model.config.to_json()},          {"chat", model.prompting.chat},
      {"generation", model.prompting.generation}, {"notes", model.prompting.notes}};
  out["tokenizer"] = tokenizer_info(model.tokenizer);
  WeightTotals totals;
  Json tensors = Json::array();
  for (const TensorPlan& plan : model.plans) {
    const Tensor& source = plan.source->tensor;
    const uint64_t bytes = static_cast<uint64_t>(plan.shape.rows()) * plan.shape.columns() / source.columns() * source.row_bytes();
    totals.add(plan.shape, source.format, bytes);
    tensors.push_back({{"name", plan.engine_name},
                       {"source", plan.source->name},
                       {"source_format", format_name(source.format)},
                       {"shape", shape_json(plan.shape)},
                       {"bytes", bytes}});
  }
  totals.write(out);
  for (const WeightDtype dtype :
       {WeightDtype::automatic, WeightDtype::f32, WeightDtype::f16, WeightDtype::bf16, WeightDtype::int8, WeightDtype::int4}) {
    out["engine_bytes"][weight_dtype_name(dtype)] = lay_out(model, WeightPolicy(dtype, 0)).bytes;
  }
  if (with_tensors) out["tensors"] = std::move(tensors);
  return out;
}

}  // namespace quern
