#include "files/gguf.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "base/parse.h"
#include "files/folder.h"
#include "files/safetensors_header.h"

namespace quern {
namespace {

constexpr uint64_t kMaxParts = 1024;
constexpr uint64_t kMaxLayers = 512;
constexpr uint64_t kMaxVocabulary = uint64_t{1} << 20;

// An unsigned metadata value of at most `max`, or nothing when the key is absent.
std::optional<uint64_t> metadata_size(const Json& metadata, const std::string& where, const std::string& key, uint64_t min, uint64_t max) {
  if (!metadata.contains(key)) return std::nullopt;
  return JsonFields(metadata, where).size({key.c_str()}, min, max);
}

// PREFIX of "PREFIX-00001-of-00003.gguf" for number 0 of 3.
std::string split_suffix(uint64_t number, uint64_t count) { return fmt::format("-{:05}-of-{:05}.gguf", number + 1, count); }

std::string text_of(const Json& metadata, const std::string& where, const char* key) {
  if (!metadata.contains(key) || !metadata.at(key).is_string()) {
    raise(invalid_input, "{}: {}: want a string, found {}", where, key, metadata.contains(key) ? metadata.at(key).type_name() : "nothing");
  }
  return metadata.at(key).get<std::string>();
}

}  // namespace

Checkpoint GgufReader::read() {
  checkpoint_.kind_ = Checkpoint::Kind::gguf;
  checkpoint_.path_ = path_;
  add_part(std::make_shared<MappedFile>(path_));
  read_split();
  check_metadata();
  read_tokenizer();
  collect();
  return std::move(checkpoint_);
}

void GgufReader::add_part(std::shared_ptr<MappedFile> file) {
  parts_.push_back(GgufPart::parse(*file));
  checkpoint_.files_.push_back(std::move(file));
}

void GgufReader::read_split() {
  const std::string where = escaped(path_);
  const auto count = metadata_size(parts_[0].metadata, where, "split.count", 0, kMaxParts);
  if (!count || *count <= 1) return;
  const uint64_t number = metadata_size(parts_[0].metadata, where, "split.no", 0, *count - 1).value_or(0);
  const size_t slash = path_.rfind('/');
  const Folder folder(slash == path_.npos ? "." : path_.substr(0, slash));
  const std::string name = slash == path_.npos ? path_ : path_.substr(slash + 1), suffix = split_suffix(number, *count);
  if (!name.ends_with(suffix)) {
    raise(invalid_input, "{}: part {} of {} of a split GGUF: want a name that ends in {} and part {} beside it", where, number + 1, *count,
          suffix, number == 0 ? 2 : 1);
  }
  const std::string prefix = name.substr(0, name.size() - suffix.size());
  if (number != 0)
    raise(invalid_input, "{}: part {} of {} of a split GGUF: name the first part, {}", where, number + 1, *count,
          escaped(prefix + split_suffix(0, *count)));

  size_t num_tensors = parts_[0].tensors.size();
  for (uint64_t i = 1; i < *count; ++i) {
    std::shared_ptr<MappedFile> file =
        folder.map(prefix + split_suffix(i, *count), fmt::format("the split GGUF as part {} of {}", i + 1, *count));
    const std::string part_where = escaped(file->path());
    add_part(std::move(file));
    const Json& metadata = parts_.back().metadata;
    const auto part_number = metadata_size(metadata, part_where, "split.no", 0, kMaxParts);
    const auto part_count = metadata_size(metadata, part_where, "split.count", 0, kMaxParts);
    if (part_number != i || part_count != count) {
      raise(invalid_input, "{}: want split.no {} of split.count {}, found {} of {}", part_where, i, *count,
            part_number ? fmt::to_string(*part_number) : "none", part_count ? fmt::to_string(*part_count) : "none");
    }
    num_tensors += parts_.back().tensors.size();
    if (num_tensors > kMaxTensors) raise(invalid_input, "{}: want at most {} tensors in all parts, found more", where, kMaxTensors);
  }
  const auto want = metadata_size(parts_[0].metadata, where, "split.tensors.count", 0, kMaxTensors);
  if (want && *want != num_tensors)
    raise(invalid_input, "{}: split.tensors.count: want {} tensors in {} parts, found {}", where, *want, *count, num_tensors);
}

void GgufReader::check_metadata() const {
  const Json& metadata = parts_[0].metadata;
  const std::string where = escaped(path_), architecture = text_of(metadata, where, "general.architecture");
  metadata_size(metadata, where, architecture + ".block_count", 1, kMaxLayers);
}

void GgufReader::read_tokenizer() {
  const GgufPart& part = parts_[0];
  const MappedFile& file = *checkpoint_.files_[0];
  const std::string where = escaped(path_);
  const auto find_array = [&](const char* key, std::initializer_list<GgufValueType> types, uint64_t max_count) -> const GgufArray* {
    const auto found = part.arrays.find(key);
    if (found == part.arrays.end()) {
      if (part.metadata.contains(key))
        raise(invalid_input, "{}: {}: want an array, found {}", where, key, part.metadata.at(key).type_name());
      return nullptr;
    }
    const GgufArray& a = found->second;
    if (std::find(types.begin(), types.end(), a.type) == types.end()) {
      raise(invalid_input, "{}: {}: want an array of {}, found one of {}", where, key, gguf_value_type_name(*types.begin()),
            gguf_value_type_name(a.type));
    }
    if (a.count > max_count) raise(invalid_input, "{}: {}: want at most {} elements, found {}", where, key, max_count, a.count);
    return &a;
  };
  using enum GgufValueType;
  const GgufArray* tokens = find_array("tokenizer.ggml.tokens", {string}, kMaxVocabulary);
  const GgufArray* types = find_array("tokenizer.ggml.token_type", {i32, u32}, kMaxVocabulary);
  const GgufArray* scores = find_array("tokenizer.ggml.scores", {f32}, kMaxVocabulary);
  const GgufArray* merges = find_array("tokenizer.ggml.merges", {string}, 4 * kMaxVocabulary);
  const uint64_t vocabulary = tokens == nullptr ? 0 : tokens->count;
  for (const auto& [key, other] : {std::pair("tokenizer.ggml.token_type", types), std::pair("tokenizer.ggml.scores", scores)}) {
    if (other != nullptr && other->count != vocabulary) {
      raise(invalid_input, "{}: {}: want {} elements as tokenizer.ggml.tokens has, found {}", where, key, vocabulary, other->count);
    }
  }
  if (tokens == nullptr) {
    if (merges != nullptr) raise(invalid_input, "{}: tokenizer.ggml.merges: want tokenizer.ggml.tokens too, found none", where);
    return;
  }
  for (const char* key : {"tokenizer.ggml.bos_token_id", "tokenizer.ggml.eos_token_id", "tokenizer.ggml.padding_token_id",
                          "tokenizer.ggml.unknown_token_id", "tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id"}) {
    if (!part.metadata.contains(key)) continue;
    const Json& id = part.metadata.at(key);
    const bool is_id = id.is_number_unsigned() || (id.is_number_integer() && id.get<int64_t>() >= 0);
    if (!is_id || id.get<uint64_t>() >= vocabulary) {
      raise(invalid_input, "{}: {}: want an id below {} (the number of tokens), found {}", where, key, vocabulary, escaped(id.dump(), 40));
    }
  }

  Checkpoint::GgufTokenizer tokenizer;
  tokenizer.model = text_of(part.metadata, where, "tokenizer.ggml.model");
  if (part.metadata.contains("tokenizer.ggml.pre")) tokenizer.pre = text_of(part.metadata, where, "tokenizer.ggml.pre");
  tokenizer.tokens = gguf_strings(file, *tokens);
  if (types != nullptr) tokenizer.token_types = gguf_numbers<int32_t>(file, *types);
  if (scores != nullptr) tokenizer.scores = gguf_numbers<float>(file, *scores);
  if (merges != nullptr) tokenizer.merges = gguf_strings(file, *merges);
  const auto bad = std::find_if(tokenizer.scores.begin(), tokenizer.scores.end(), [](float score) { return !std::isfinite(score); });
  if (bad != tokenizer.scores.end())
    raise(invalid_input, "{}: tokenizer.ggml.scores: token {}: want a finite number", where, bad - tokenizer.scores.begin());
  checkpoint_.gguf_tokenizer_ = std::move(tokenizer);
}

void GgufReader::collect() {
  checkpoint_.config_ = std::move(parts_[0].metadata);
  for (size_t i = 0; i < parts_.size(); ++i) {
    const MappedFile& file = *checkpoint_.files_[i];
    for (const GgufTensor& tensor : parts_[i].tensors) {
      SourceTensor source;
      source.name = tensor.name;
      source.dtype = tensor.type->name;
      source.dims.assign(tensor.dims.rend() - tensor.rank, tensor.dims.rend());
      source.bytes = file.bytes().subspan(tensor.begin, tensor.bytes);
      source.file = i;
      source.offset = tensor.begin;
      if (tensor.type->format) {
        // The mapping is read-only: a Tensor has no const form, and nothing writes to a checkpoint's.
        source.tensor = {.data = const_cast<std::byte*>(source.bytes.data()),
                         .shape = Shape(std::span<const size_t>(source.dims)),
                         .format = *tensor.type->format};
      }
      const auto [at, is_new] = checkpoint_.tensors_.emplace(source.name, std::move(source));
      if (!is_new) {
        raise(invalid_input, "{}: tensor {} is also in {}", escaped(file.path()), escaped(tensor.name),
              escaped(checkpoint_.files_[at->second.file]->path()));
      }
    }
  }
  if (checkpoint_.tensors_.empty()) raise(invalid_input, "{}: want tensors, found none", escaped(path_));
}

}  // namespace quern
