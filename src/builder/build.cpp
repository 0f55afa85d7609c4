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
#include "builder/repack.h"
#include "builder/source_model.h"
#include "files/engine_file.h"
#include "files/xxh3.h"

namespace quern {
namespace {

constexpr size_t kPieceBytes = size_t{16} << 20;  // of a tensor, read and written at once
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

// The part of a build that moves bytes: one tensor after the other, in pieces.
class TensorStream {
 public:
  TensorStream(const SourceModel& model, const WeightFormats& layout, ThreadPool& pool, const BuildOptions& options,
               CalibratedWeights* calibrated)
      : model_(model), layout_(layout), pool_(pool), options_(options), calibrated_(calibrated), buffer_(kPieceBytes) {
    const std::string config = model.checkpoint.config().dump(-1, ' ', false, Json::error_handler_t::replace);
    hash_.update(config.data(), config.size());
    progress_.num_tensors = model.plans.size();
    progress_.num_bytes = layout.bytes;
  }

  void write_all(EngineFileWriter& writer) {
    for (size_t i = 0; i < model_.plans.size(); ++i) {
      progress_.tensor = model_.plans[i].engine_name;
      write(i, writer);
      ++progress_.tensors_done;
    }
    progress_.tensor.clear();
    report();
  }

  // Of the config and of every byte that the engine file is made from: which checkpoint this was, wherever it lay.
  std::string source_xxh3() const { return fmt::format("{:016x}", hash_.digest()); }

 private:
  const MappedFile& file_of(size_t i) const { return *model_.checkpoint.files()[model_.plans[i].source->file]; }

  TensorRepacker repacker(size_t i) const {
    const TensorPlan& plan = model_.plans[i];
    return TensorRepacker(plan, model_.config, layout_.formats[i], escaped(file_of(i).path()));
  }

  void write(size_t i, EngineFileWriter& writer) {
    if (calibrated_ != nullptr) {
      const std::span<const std::byte> rows = calibrated_->rows(i, [this] { report(); });
      if (!rows.empty()) return write_rounded(i, rows, writer);
    }
    const TensorRepacker tensor = repacker(i);
    const SourceTensor& source = *model_.plans[i].source;
    const size_t granularity = tensor.row_granularity();
    const size_t widest = std::max<size_t>(tensor.row_bytes(), tensor.source_range(0, 1).bytes);
    const size_t piece_rows = std::max<size_t>(1, kPieceBytes / widest / granularity) * granularity;
    for (size_t begin = 0; begin < tensor.num_rows(); begin += piece_rows) {
      const size_t count = std::min(piece_rows, tensor.num_rows() - begin);
      report();
      if (buffer_.size() < count * tensor.row_bytes()) buffer_.resize(count * tensor.row_bytes());
      const TensorRepacker::SourceRange range = tensor.source_range(begin, count);
      if (!source.packed) {
        const MappedFile& file = file_of(i);
        const uint64_t offset = source.offset + range.offset;
        file.will_need(offset, std::min(2 * range.bytes, file.size() - offset));  // this piece and the next
      }
      writer.write(tensor.make_rows(begin, count, buffer_, pool_));
      if (!source.packed) finish_reading(i, range);
      progress_.bytes_done += count * tensor.row_bytes();
    }
    if (source.packed) finish_reading(i, {});
  }

  // Hashes what was read and gives its pages back: a part of a plain source, all of a packed one.
  void finish_reading(size_t i, const TensorRepacker::SourceRange& range) {
    const SourceTensor& source = *model_.plans[i].source;
    if (!source.packed) {
      hash_.update(source.tensor.data + range.offset, range.bytes);
      file_of(i).release(source.offset + range.offset, range.bytes);
      return;
    }
    for (const PackedPart& part : source.packed->parts()) {
      hash_.update(part.bytes.data(), part.bytes.size());
      model_.checkpoint.files()[part.file]->release(part.offset, part.bytes.size());
    }
  }

  // Rows that were made from the source's values in full.
  void write_rounded(size_t i, std::span<const std::byte> rows, EngineFileWriter& writer) {
    writer.write(rows);
    finish_reading(i, repacker(i).source_range(0, model_.plans[i].shape.rows()));
    progress_.bytes_done += rows.size();
  }

  void report() const {
    if (options_.progress) options_.progress(progress_);
  }

  const SourceModel& model_;
  const WeightFormats& layout_;
  ThreadPool& pool_;
  const BuildOptions& options_;
  CalibratedWeights* calibrated_;  // null: every value is rounded by itself
  Xxh3 hash_;
  std::vector<std::byte> buffer_;
  BuildProgress progress_;
};

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

std::unique_ptr<CalibratedWeights> make_calibrated(const SourceModel& model, const WeightPolicy& policy, const WeightFormats& layout,
                                                   const BuildOptions& options) {
  if (options.method == "rtn") {
    if (!options.calibration.empty()) raise(usage, "--calibration: want --method gptq, found rtn");
    return nullptr;
  }
  if (options.method != "gptq") raise(usage, "--method: want rtn or gptq, found '{}'", escaped(options.method, 60));
  if (policy.dtype() != WeightDtype::int4) {
    raise(usage, "--method gptq: want --dtype int4, found {}", weight_dtype_name(policy.dtype()));
  }
  CalibrationOptions calibration;
  if (!options.calibration.empty()) {
    calibration.text = read_text_file(options.calibration, kMaxCalibrationBytes);
    if (calibration.text.empty()) raise(invalid_input, "{}: want a text, found an empty file", escaped(options.calibration));
  }
  return std::make_unique<CalibratedWeights>(model, layout.formats, calibration, options.num_threads);
}

// A name that is not an engine's may be some other file that was named by mistake.
void refuse_foreign_output(const std::string& path) {
  std::error_code error;
  if (!path.ends_with(".quern") && std::filesystem::is_regular_file(path, error)) {
    raise(usage, "--output: {}: exists and is not named *.quern: it is not replaced", escaped(path));
  }
}

}  // namespace

BuildResult build_engine(const BuildOptions& options) {
  const double start = monotonic_seconds();
  const WeightPolicy policy(parse_weight_dtype(options.dtype), options.group_size, options.has_zeros);
  const SourceModel model = read_source_model(options.source, {.gguf_qwen1_long_context = options.gguf_qwen1_long_context});
  const WeightFormats layout = lay_out(model, policy);
  EngineMetadata metadata = describe(model, policy, layout);
  const std::vector<std::byte> tokenizer = model.tokenizer.packed();

  EngineFileWriter writer(options.output, engine_layout(model, layout, tokenizer.size()), input_paths(model.checkpoint));
  refuse_foreign_output(options.output);  // after the writer, which knows whether it is an input
  writer.write(tokenizer);
  ThreadPool pool(options.num_threads);
  const std::unique_ptr<CalibratedWeights> calibrated = make_calibrated(model, policy, layout, options);
  TensorStream stream(model, layout, pool, options, calibrated.get());
  stream.write_all(writer);
  metadata.build["method"] = options.method;
  if (calibrated) metadata.build["calibration"] = calibrated->record();
  metadata.build["source_xxh3"] = stream.source_xxh3();
  writer.finish(metadata);

  BuildResult result;
  result.file_bytes = MappedFile(options.output).size();
  result.weight_bytes = layout.bytes;
  result.source_bytes = model.source_bytes();
  result.num_weights = model.num_parameters();
  result.bits_per_weight = 8.0 * static_cast<double>(result.weight_bytes) / static_cast<double>(result.num_weights);
  result.policy = layout.record;
  result.notes = model.prompting.notes;
  result.seconds = monotonic_seconds() - start;
  return result;
}

}  // namespace quern
