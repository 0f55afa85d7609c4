// A file of prompts, one JSON object a line, and the file of their results. Both are read in full before a model is loaded, so that a
// broken line is told at once with its number.
#pragma once
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "base/mapped_file.h"

namespace quern {

class PromptFile {
 public:
  // Throws invalid_input naming the line: no object, no id, an id that was there before, not exactly one kind of prompt, a field of a
  // wrong type. Empty lines are skipped. Tells once on stderr which fields nobody reads.
  explicit PromptFile(const std::string& path);

  size_t size() const { return lines_.size(); }
  const std::string& path() const { return file_.path(); }
  std::string where(size_t i) const;  // "IN.jsonl:12"
  Json object(size_t i) const;
  const std::string& id(size_t i) const { return lines_[i].id; }  // as JSON: "7" and 7 are two ids

 private:
  struct Line {
    size_t number;
    std::string_view text;  // in the mapping
    std::string id;
  };
  MappedFile file_;
  std::vector<Line> lines_;
};

// The results, appended one whole line at a time. Opened anew, it knows what is finished: a run that was stopped, or killed, goes on.
class ResultFile {
 public:
  // "-" is standard output. Throws usage when it is the prompts' own file, invalid_input when it holds something else than results of
  // `prompts`, resource when it cannot be written or another run writes it. A last line that was cut off is removed.
  ResultFile(const std::string& path, const PromptFile& prompts);
  ~ResultFile();
  ResultFile(const ResultFile&) = delete;
  ResultFile& operator=(const ResultFile&) = delete;

  bool has(const std::string& id) const { return finished_.contains(id); }
  size_t num_finished() const { return finished_.size(); }
  void append(const OrderedJson& line);
  void close();  // synced; throws resource

 private:
  void read_finished(const PromptFile& prompts);

  std::string path_;
  int descriptor_ = -1;
  std::set<std::string> finished_;
};

}  // namespace quern
