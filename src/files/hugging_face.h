// Reads a Hugging Face folder into a Checkpoint: config.json, generation_config.json, tokenizer_config.json and the safetensors files.
#pragma once
#include <deque>
#include <string>
#include <vector>

#include "files/checkpoint.h"
#include "files/folder.h"
#include "files/safetensors_header.h"

namespace quern {

class HuggingFaceReader {
 public:
  explicit HuggingFaceReader(const std::string& path) : folder_(path) {}

  Checkpoint read();

 private:
  struct Shard {
    SafetensorsHeader header;
    size_t file;
  };

  Json read_json(const char* name, bool required) const;
  void refuse_without_weights(const std::vector<std::string>& names) const;
  void read_single(const std::string& name);
  void read_sharded();
  Shard& open_shard(const std::string& name, const std::string& wanted_by);
  void collect();
  void join_packed(const std::vector<std::string>& names);

  Folder folder_;
  Checkpoint checkpoint_;
  std::deque<Shard> shards_;  // a deque: names in a header's `texts` must not move
};

}  // namespace quern
