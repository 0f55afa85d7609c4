// Reads a GGUF file, or all parts of a split one, into a Checkpoint.
#pragma once
#include <string>

#include "files/checkpoint.h"
#include "files/gguf_part.h"

namespace quern {

class GgufReader {
 public:
  explicit GgufReader(std::string path) : path_(std::move(path)) {}

  Checkpoint read();

 private:
  void add_part(std::shared_ptr<MappedFile> file);
  void read_split();
  void check_metadata() const;
  void read_tokenizer();
  void collect();

  std::string path_;
  Checkpoint checkpoint_;
  std::vector<GgufPart> parts_;  // of checkpoint_.files_, in the same order
};

}  // namespace quern
