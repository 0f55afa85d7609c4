#include "files/shard_index.h"

#include <algorithm>
#include <map>

#include "base/error.h"
#include "files/json_scanner.h"
#include "files/safetensors_header.h"

namespace quern {
namespace {

class IndexParser {
 public:
  explicit IndexParser(std::shared_ptr<MappedFile> file) : where_(escaped(file->path())), json_(checked_text(*file, where_), where_, 0) {
    index_.file = std::move(file);
  }

  ShardIndex parse() {
    bool has_map = false;
    json_.expect('{');
    if (!json_.accept('}')) {
      do {
        const bool is_map = json_.string(scratch_, kMaxTensorNameBytes, "key") == "weight_map";
        json_.expect(':');
        if (is_map && has_map) raise(invalid_input, "{}: weight_map: want one, found two", where_);
        has_map = has_map || is_map;
        is_map ? read_map() : json_.skip_value();
      } while (json_.another('}'));
    }
    json_.end();
    if (!has_map || index_.tensors.empty())
      raise(invalid_input, "{}: weight_map: want an object of tensor and file names, found {}", where_, has_map ? "an empty one" : "none");
    sort();
    return std::move(index_);
  }

 private:
  static std::string_view checked_text(const MappedFile& file, const std::string& where) {
    if (file.size() == 0) raise(invalid_input, "{}: file is empty", where);
    if (file.size() > kMaxSafetensorsHeaderBytes)
      raise(invalid_input, "{}: want at most {} bytes, found {}", where, kMaxSafetensorsHeaderBytes, file.size());
    return file.text();
  }

  void read_map() {
    json_.expect('{');
    if (json_.accept('}')) return;
    do {
      std::string_view name = json_.string(scratch_, kMaxTensorNameBytes, "tensor name");
      check_tensor_name(name, where_);
      if (name.data() == scratch_.data()) name = index_.texts.emplace_back(name);
      json_.expect(':');
      if (index_.tensors.size() == kMaxTensors)
        raise(invalid_input, "{}: weight_map: want at most {} tensors, found more", where_, kMaxTensors);
      index_.tensors.emplace_back(name, shard(json_.string(scratch_, kMaxTensorNameBytes, "file name")));
    } while (json_.another('}'));
  }

  size_t shard(std::string_view name) {
    const auto found = numbers_.find(name);
    if (found != numbers_.end()) return found->second;
    if (numbers_.size() == ShardIndex::kMaxShards)
      raise(invalid_input, "{}: weight_map: want at most {} files, found more", where_, ShardIndex::kMaxShards);
    return numbers_.emplace(name, numbers_.size()).first->second;
  }

  // Shards by name, so that the order of the map does not matter.
  void sort() {
    std::vector<size_t> place(numbers_.size());
    for (const auto& [name, number] : numbers_) {
      place[number] = index_.shards.size();
      index_.shards.push_back(name);
    }
    for (auto& [name, number] : index_.tensors) number = place[number];
    std::sort(index_.tensors.begin(), index_.tensors.end());
    const auto twice =
        std::adjacent_find(index_.tensors.begin(), index_.tensors.end(), [](const auto& a, const auto& b) { return a.first == b.first; });
    if (twice != index_.tensors.end()) raise(invalid_input, "{}: weight_map: tensor {} is there twice", where_, escaped(twice->first));
  }

  std::string where_;
  JsonScanner json_;
  std::string scratch_;
  ShardIndex index_;
  std::map<std::string, size_t, std::less<>> numbers_;
};

}  // namespace

ShardIndex ShardIndex::parse(std::shared_ptr<MappedFile> file) { return IndexParser(std::move(file)).parse(); }

}  // namespace quern
