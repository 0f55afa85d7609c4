#include "files/hugging_face.h"

#include <algorithm>

#include "base/error.h"
#include "files/packed_layouts.h"
#include "files/shard_index.h"

namespace quern {
namespace {

constexpr const char* kSingle = "model.safetensors";
constexpr const char* kIndex = "model.safetensors.index.json";

bool is_pickle(const std::string& name) {
  return name.ends_with(".bin") || name.ends_with(".pt") || name.ends_with(".pth") || name.ends_with(".ckpt") || name.ends_with(".pkl");
}

SourceTensor source_tensor(const MappedFile& file, size_t file_index, const SafetensorsHeader& header, const SafetensorsEntry& entry) {
  SourceTensor source;
  source.name = entry.name;
  source.dtype = entry.dtype->name;
  source.dims.assign(header.shape(entry).begin(), header.shape(entry).end());
  source.bytes = file.bytes().subspan(entry.begin, entry.end - entry.begin);
  source.file = file_index;
  source.offset = entry.begin;
  if (entry.dtype->format && source.dims.size() <= Shape::kMaxRank) {
    // The mapping is read-only: a Tensor has no const form, and nothing writes to a checkpoint's.
    source.tensor = {.data = const_cast<std::byte*>(source.bytes.data()),
                     .shape = Shape(std::span<const size_t>(source.dims)),
                     .format = *entry.dtype->format};
  }
  return source;
}

}  // namespace

Json HuggingFaceReader::read_json(const char* name, bool required) const {
  if (!required && !folder_.has(name)) return nullptr;
  const std::shared_ptr<MappedFile> file = folder_.map(name, "the checkpoint");
  const std::string where = escaped(file->path());
  Json json = parse_json(file->text(), where);
  if (!json.is_object()) raise(invalid_input, "{}: want a JSON object, found {}", where, json.type_name());
  return json;
}

void HuggingFaceReader::refuse_without_weights(const std::vector<std::string>& names) const {
  const std::string where = escaped(folder_.path());
  for (const std::string& name : names) {
    if (name.ends_with(".gguf"))
      raise(invalid_input, "{}: want a folder with model.safetensors, found GGUF files; name the file itself: {}", where, escaped(name));
  }
  for (const std::string& name : names) {
    if (is_pickle(name)) {
      raise(incompatible,
            "{}: want safetensors, found only pickle files such as {}, which are never opened because they can run code; convert to "
            "safetensors",
            where, escaped(name));
    }
  }
  raise(invalid_input, "{}: want model.safetensors or model.safetensors.index.json, found neither", where);
}

Checkpoint HuggingFaceReader::read() {
  checkpoint_.kind_ = Checkpoint::Kind::hugging_face;
  checkpoint_.path_ = folder_.path();
  const std::vector<std::string> names = folder_.names();
  std::vector<std::string> safetensors;
  std::copy_if(names.begin(), names.end(), std::back_inserter(safetensors),
               [](const std::string& name) { return name.ends_with(".safetensors"); });
  const bool has_single = std::binary_search(names.begin(), names.end(), kSingle),
             has_index = std::binary_search(names.begin(), names.end(), kIndex);
  if (safetensors.empty() && !has_index) refuse_without_weights(names);

  checkpoint_.config_ = read_json("config.json", true);
  checkpoint_.generation_config_ = read_json("generation_config.json", false);
  checkpoint_.tokenizer_config_ = read_json("tokenizer_config.json", false);
  if (has_single) {
    read_single(kSingle);
  } else if (has_index) {
    read_sharded();
  } else if (safetensors.size() == 1) {
    read_single(safetensors.front());
  } else {
    raise(invalid_input, "{}: want {} for several files, found {} .safetensors files without it", escaped(folder_.path()), kIndex,
          safetensors.size());
  }
  collect();
  join_packed(names);
  return std::move(checkpoint_);
}

// quantization_config of config.json, or the file that old GPTQ programs write.
void HuggingFaceReader::join_packed(const std::vector<std::string>& names) {
  constexpr const char *kField = "quantization_config", *kGptqFile = "quantize_config.json";
  Json& config = checkpoint_.config_;
  const auto is_gptq = [&](const auto& entry) { return entry.first.ends_with(".qweight"); };
  const std::string folder = folder_.path();
  if (config.contains(kField) && !config.at(kField).is_null()) {
    const JsonFields fields = *JsonFields(config, escaped(folder_.path_of("config.json"))).optional_object(kField);
    join_packed_weights(checkpoint_.tensors_, fields, folder);
  } else if (std::binary_search(names.begin(), names.end(), kGptqFile) && std::ranges::any_of(checkpoint_.tensors_, is_gptq)) {
    Json settings = read_json(kGptqFile, true);
    if (!settings.contains("quant_method")) settings["quant_method"] = "gptq";
    join_packed_weights(checkpoint_.tensors_, JsonFields(settings, escaped(folder_.path_of(kGptqFile))), folder);
  } else {
    return;
  }
  checkpoint_.is_packed_ = true;
}

HuggingFaceReader::Shard& HuggingFaceReader::open_shard(const std::string& name, const std::string& wanted_by) {
  std::shared_ptr<MappedFile> file = folder_.map(name, wanted_by);
  shards_.push_back({SafetensorsHeader::parse(*file, SafetensorsHeader::Metadata::check), checkpoint_.files_.size()});
  file->release(0, shards_.back().header.data_offset);  // a header may be 100 MB: only its names are looked at again
  checkpoint_.files_.push_back(std::move(file));
  return shards_.back();
}

void HuggingFaceReader::read_single(const std::string& name) { open_shard(name, "the checkpoint"); }

void HuggingFaceReader::read_sharded() {
  const ShardIndex index = ShardIndex::parse(folder_.map(kIndex, "the checkpoint"));
  std::vector<std::vector<std::string_view>> wanted(index.shards.size());  // tensors of each shard, sorted
  for (const auto& [name, shard] : index.tensors) wanted[shard].push_back(name);
  size_t num_tensors = 0;
  for (size_t i = 0; i < index.shards.size(); ++i) {
    const std::string& name = index.shards[i];
    const std::string wanted_by = fmt::format("{} for {} tensors, the first {}", kIndex, wanted[i].size(), escaped(wanted[i].front(), 80));
    if (!name.ends_with(".safetensors")) {
      raise(invalid_input, "{}: {}: weight_map: want names of .safetensors files in the folder, found {} for {}", escaped(folder_.path()),
            kIndex, escaped(name), escaped(wanted[i].front(), 80));
    }
    const SafetensorsHeader& header = open_shard(name, wanted_by).header;
    num_tensors += header.entries.size();
    if (num_tensors > kMaxTensors)
      raise(invalid_input, "{}: want at most {} tensors in all files, found more", escaped(folder_.path()), kMaxTensors);
    std::vector<std::string_view> present;
    for (const SafetensorsEntry& entry : header.entries) present.push_back(entry.name);
    std::sort(present.begin(), present.end());
    for (const std::string_view tensor : wanted[i]) {
      if (!std::binary_search(present.begin(), present.end(), tensor)) {
        raise(invalid_input, "{}: {}: tensor {} is in {} but not in this file", escaped(folder_.path()), escaped(name), escaped(tensor),
              kIndex);
      }
    }
  }
}

void HuggingFaceReader::collect() {
  std::vector<std::pair<std::string_view, size_t>> names;  // tensor, shard
  for (size_t i = 0; i < shards_.size(); ++i) {
    for (const SafetensorsEntry& entry : shards_[i].header.entries) names.emplace_back(entry.name, i);
  }
  std::sort(names.begin(), names.end());
  const auto twice = std::adjacent_find(names.begin(), names.end(), [](const auto& a, const auto& b) { return a.first == b.first; });
  if (twice != names.end()) {
    const auto file_name = [&](size_t shard) { return escaped(checkpoint_.files_[shards_[shard].file]->path()); };
    raise(invalid_input, "{}: tensor {} is also in {}", file_name(twice[1].second), escaped(twice->first), file_name(twice[0].second));
  }
  for (const Shard& shard : shards_) {
    const MappedFile& file = *checkpoint_.files_[shard.file];
    for (const SafetensorsEntry& entry : shard.header.entries) {
      checkpoint_.tensors_.emplace(entry.name, source_tensor(file, shard.file, shard.header, entry));
    }
    file.release(0, shard.header.data_offset);
  }
}

}  // namespace quern
