#include "builder/tensor_stream.h"

#include <algorithm>

#include "base/error.h"
#include "base/mapped_file.h"

namespace quern {
namespace {

constexpr size_t kPieceBytes = size_t{16} << 20;  // of a tensor, read and written at once

}  // namespace

void release_source(const SourceModel& model, const TensorPlan& plan) {
  const SourceTensor& source = *plan.source;
  if (!source.packed) {
    model.checkpoint.files()[source.file]->release(source.offset, source.tensor.rows() * source.tensor.row_bytes());
    return;
  }
  for (const PackedPart& part : source.packed->parts()) model.checkpoint.files()[part.file]->release(part.offset, part.bytes.size());
}

TensorStream::TensorStream(const SourceModel& model, const WeightFormats& layout, ThreadPool& pool, const BuildOptions& options,
                           CalibratedWeights* calibrated, QualityRun* quality)
    : model_(model), layout_(layout), pool_(pool), options_(options), calibrated_(calibrated), quality_(quality), buffer_(kPieceBytes) {
  const std::string config = model.checkpoint.config().dump(-1, ' ', false, Json::error_handler_t::replace);
  hash_.update(config.data(), config.size());
  progress_.num_tensors = model.plans.size();
  progress_.num_bytes = layout.bytes;
}

void TensorStream::write_all(EngineFileWriter& writer) {
  for (size_t i = 0; i < model_.plans.size(); ++i) {
    progress_.tensor = model_.plans[i].engine_name;
    write(i, writer);
    ++progress_.tensors_done;
    if (quality_ != nullptr) measure_layer_of(i);
  }
  progress_.tensor.clear();
  report();
}

std::string TensorStream::source_xxh3() const { return fmt::format("{:016x}", hash_.digest()); }

TensorRepacker TensorStream::repacker(size_t i) const {
  return TensorRepacker(model_.plans[i], model_.config, layout_.formats[i], escaped(file_of(i).path()));
}

void TensorStream::write(size_t i, EngineFileWriter& writer) {
  if (calibrated_ != nullptr) {
    const std::span<const std::byte> rows = calibrated_->rows(i, [this] { report(); });
    if (!rows.empty()) return write_rounded(i, rows, writer);
  }
  const TensorRepacker tensor = repacker(i);
  RoundingError* rounding = tensor.keeps_values() ? nullptr : &errors_[model_.plans[i].engine_name];
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
    const std::span<const std::byte> rows = tensor.make_rows(begin, count, buffer_, pool_, rounding);
    writer.write(rows);
    keep_for_quality(i, rows);
    if (!source.packed) finish_reading(i, range);
    progress_.bytes_done += count * tensor.row_bytes();
  }
  if (source.packed) finish_reading(i, {});
}

// Hashes what was read and gives its pages back: a part of a plain source, all of a packed one.
void TensorStream::finish_reading(size_t i, const TensorRepacker::SourceRange& range) {
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
void TensorStream::write_rounded(size_t i, std::span<const std::byte> rows, EngineFileWriter& writer) {
  writer.write(rows);
  keep_for_quality(i, rows);
  if (const RoundingError* error = calibrated_->error(model_.plans[i].engine_name)) errors_[model_.plans[i].engine_name] = *error;
  finish_reading(i, repacker(i).source_range(0, model_.plans[i].shape.rows()));
  progress_.bytes_done += rows.size();
}

void TensorStream::keep_for_quality(size_t i, std::span<const std::byte> rows) {
  const std::optional<size_t> layer = layer_of(model_.plans[i].engine_name);
  if (quality_ == nullptr || !layer) return;
  std::vector<std::byte>& kept = layer_rows_[name_in_layer(model_.plans[i].engine_name, *layer)];
  kept.insert(kept.end(), rows.begin(), rows.end());
}

// After the last tensor of a layer.
void TensorStream::measure_layer_of(size_t i) {
  const std::optional<size_t> layer = layer_of(model_.plans[i].engine_name);
  if (!layer || (i + 1 < model_.plans.size() && layer_of(model_.plans[i + 1].engine_name) == layer)) return;
  LayerTensors tensors;
  for (size_t j = 0; j < model_.plans.size(); ++j) {
    const TensorPlan& plan = model_.plans[j];
    const std::string name = name_in_layer(plan.engine_name, *layer);
    if (!name.empty())
      tensors.emplace(name, Tensor{.data = layer_rows_.at(name).data(), .shape = plan.shape, .format = layout_.formats[j]});
  }
  report();
  quality_->advance(*layer, tensors);
  for (const TensorPlan& plan : model_.plans) {
    if (!name_in_layer(plan.engine_name, *layer).empty()) release_source(model_, plan);
  }
  layer_rows_.clear();
}

void TensorStream::report() const {
  if (options_.progress) options_.progress(progress_);
}

}  // namespace quern
