// Tokenizers from files and folders.
#include <algorithm>
#include <filesystem>

#include "base/error.h"
#include "text/vocabulary_files.h"

namespace quern {

Tokenizer Tokenizer::from_tokenizer_json(const std::string& path, const std::string& tokenizer_config_path) {
  return Tokenizer(read_tokenizer_json(path, tokenizer_config_path), escaped(path));
}

Tokenizer Tokenizer::from_vocab_and_merges(const std::string& vocab_path, const std::string& merges_path,
                                           const std::string& tokenizer_config_path) {
  return Tokenizer(read_vocab_and_merges(vocab_path, merges_path, tokenizer_config_path), escaped(vocab_path));
}

Tokenizer Tokenizer::from_tiktoken(const std::string& path) { return Tokenizer(read_tiktoken(path), escaped(path)); }

Tokenizer Tokenizer::from_folder(const std::string& folder) {
  namespace fs = std::filesystem;
  std::error_code error;
  const fs::path root(folder);
  const auto there = [&](const char* name) { return fs::exists(root / name, error); };
  const auto path = [&](const char* name) { return (root / name).string(); };
  const std::string config = there("tokenizer_config.json") ? path("tokenizer_config.json") : "";
  if (there("tokenizer.json")) return from_tokenizer_json(path("tokenizer.json"), config);
  if (there("vocab.json") && there("merges.txt")) return from_vocab_and_merges(path("vocab.json"), path("merges.txt"), config);
  std::vector<std::string> tiktoken;
  for (fs::directory_iterator file(root, error), end; !error && file != end; file.increment(error)) {
    if (file->path().extension() == ".tiktoken") tiktoken.push_back(file->path().string());
  }
  if (tiktoken.size() == 1) return from_tiktoken(tiktoken[0]);
  if (tiktoken.size() > 1) raise(invalid_input, "{}: want one .tiktoken file, found {}", escaped(folder), tiktoken.size());
  if (there("tokenizer.model")) {
    raise(incompatible, "{}: tokenizer.model alone (a SentencePiece file) is not implemented; want tokenizer.json beside it",
          escaped(folder));
  }
  raise(invalid_input, "{}: no tokenizer: want tokenizer.json, vocab.json with merges.txt, or a .tiktoken file", escaped(folder));
}

}  // namespace quern
