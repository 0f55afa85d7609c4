// model.safetensors.index.json: which file of a folder holds which tensor. The names are as in the file: nothing is opened here.
#pragma once
#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/mapped_file.h"

namespace quern {

struct ShardIndex {
  static constexpr size_t kMaxShards = 4096;

  std::vector<std::string> shards;                           // file names, sorted
  std::vector<std::pair<std::string_view, size_t>> tensors;  // name, index into shards; sorted by name
  std::deque<std::string> texts;                             // names that had escapes
  std::shared_ptr<MappedFile> file;                          // the other names point into it

  // Throws invalid_input for all but a JSON object whose "weight_map" maps names to names.
  static ShardIndex parse(std::shared_ptr<MappedFile> file);
};

}  // namespace quern
