// A Hugging Face folder or a GGUF file as named host tensors plus its raw config. Names, formats and shapes are the file's own, except that
// the parts of a quantized weight (GPTQ, AWQ, FP8, compressed-tensors) are seen as one tensor "X.weight". Owns the mappings that its
// tensors point into; any thread may read it.
#pragma once
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "base/mapped_file.h"
#include "files/packed_matrix.h"
#include "tensor/tensor.h"

namespace quern {

struct SourceTensor {
  std::string name;                  // as in the file
  std::string_view dtype;            // the file's own word: "BF16", "I32", "Q4_K"
  std::vector<uint64_t> dims;        // slowest dimension first, so a matrix is [out, in] for GGUF as well; at most 8
  std::span<const std::byte> bytes;  // in the mapping; maybe not aligned for its dtype: read through FormatInfo::unpack or memcpy
  // The same as a weight: null (operator bool) when Quern has no format for the dtype (integers, fp8) or the rank is above 4.
  Tensor tensor;
  size_t file = 0;      // index into Checkpoint::files
  uint64_t offset = 0;  // of the first byte in that file
  // Of a weight whose parts are several tensors: `bytes` and tensor.data are empty, and rows() makes its rows.
  std::shared_ptr<const PackedMatrix> packed = {};

  // Rows [first, first + count) of a weight in the tensor's format: in the mapping, or made in `buffer`.
  const std::byte* rows(size_t first, size_t count, std::vector<std::byte>& buffer) const;

  // `tensor`, or invalid_input "<where>: <name>: want a weight, file has I32 [2,3]" when there is none.
  const Tensor& weight(std::string_view where) const;
};

class Checkpoint {
 public:
  enum class Kind { hugging_face, gguf };

  // Opens a folder with config.json and *.safetensors (single or sharded by model.safetensors.index.json), or a .gguf file (also the
  // first part of a split one). Every size, range, name and count is checked; see docs/formats.md for limits.
  // Throws invalid_input / incompatible / resource as reference pages say; pickle files (.bin, .pt) are never opened.
  static Checkpoint open(const std::string& path);

  Kind kind() const { return kind_; }
  const std::string& path() const { return path_; }

  // Hugging Face: config.json. GGUF: the metadata as one flat object ("qwen2.block_count": 24), of a split file the first part's;
  // without arrays of more than 1,024 elements and the tokenizer's arrays.
  const Json& config() const { return config_; }
  // Whether the weights were quantized by a method that Checkpoint put together.
  bool is_packed() const { return is_packed_; }
  // Hugging Face: generation_config.json and tokenizer_config.json, or null. GGUF: null.
  const Json& generation_config() const { return generation_config_; }
  const Json& tokenizer_config() const { return tokenizer_config_; }

  const std::map<std::string, SourceTensor>& tensors() const { return tensors_; }
  const SourceTensor* find(const std::string& name) const;
  const std::vector<std::shared_ptr<MappedFile>>& files() const { return files_; }

  // GGUF's tokenizer arrays; absent in other kinds. Lengths agree with each other (checked).
  struct GgufTokenizer {
    std::string model, pre;                // tokenizer.ggml.model, .pre
    std::vector<std::string_view> tokens;  // into the mapping
    std::vector<int32_t> token_types;      // empty when the file has none
    std::vector<float> scores;             // empty when the file has none
    std::vector<std::string_view> merges;
  };
  const std::optional<GgufTokenizer>& gguf_tokenizer() const { return gguf_tokenizer_; }

 private:
  Checkpoint() = default;
  friend class HuggingFaceReader;
  friend class GgufReader;

  Kind kind_ = Kind::hugging_face;
  std::string path_;
  bool is_packed_ = false;
  Json config_, generation_config_, tokenizer_config_;
  std::map<std::string, SourceTensor> tensors_;
  std::vector<std::shared_ptr<MappedFile>> files_;
  std::optional<GgufTokenizer> gguf_tokenizer_;
};

}  // namespace quern
