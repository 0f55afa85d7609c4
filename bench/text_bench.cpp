// Encoding speed of the Qwen tokenizer: plain text, and the strings that make a careless BPE quadratic (the promise: at most 1 s a MB, and
// a doubling takes at most 2.3 times as long). One core; bytes_per_second is the figure.
// QUERN_TOKENIZER names the tokenizer's folder (default: ../shared/data/tokenizers/qwen3 beside the repository).
#include <benchmark/benchmark.h>

#include <cstdlib>
#include <filesystem>
#include <memory>

#include "base/error.h"
#include "base/mapped_file.h"
#include "text/tokenizer.h"

namespace quern {
namespace {

std::string shared_folder() {
  const std::filesystem::path repository = std::filesystem::path(__FILE__).parent_path().parent_path();
  const std::filesystem::path beside = repository.parent_path() / "shared/data";
  return (std::filesystem::exists(beside) ? beside : repository.parent_path().parent_path() / "shared/data").string();
}

const Tokenizer* tokenizer(benchmark::State& state) {
  static const std::unique_ptr<Tokenizer> loaded = [] {
    const char* named = std::getenv("QUERN_TOKENIZER");
    const std::string folder = named != nullptr ? named : shared_folder() + "/tokenizers/qwen3";
    try {
      return std::make_unique<Tokenizer>(Tokenizer::from_folder(folder));
    } catch (const Error&) {
      return std::unique_ptr<Tokenizer>();
    }
  }();
  if (loaded == nullptr) state.SkipWithError("no tokenizer: set QUERN_TOKENIZER to a folder with tokenizer.json");
  return loaded.get();
}

void encode(benchmark::State& state, const std::string& text) {
  const Tokenizer* qwen = tokenizer(state);
  if (qwen == nullptr) return;
  size_t tokens = 0;
  for (auto _ : state) {
    tokens = qwen->encode(text, Tokenizer::Specials::all).size();
    benchmark::DoNotOptimize(tokens);
  }
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations() * text.size()));
  state.counters["bytes/token"] = tokens == 0 ? 0.0 : static_cast<double>(text.size()) / static_cast<double>(tokens);
}

void worst(benchmark::State& state, const char* unit) {
  std::string text;
  while (text.size() < static_cast<size_t>(state.range(0)) << 20) text += unit;
  encode(state, text);
}

void file(benchmark::State& state, const char* name) {
  const std::string path = shared_folder() + "/" + name;
  if (!std::filesystem::exists(path)) {
    state.SkipWithError("no ../shared/data");
    return;
  }
  encode(state, read_text_file(path, 64 << 20));
}

void decode(benchmark::State& state) {
  const Tokenizer* qwen = tokenizer(state);
  if (qwen == nullptr) return;
  std::vector<TokenId> ids(1 << 20);
  for (size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<TokenId>(i * 7919 % qwen->num_tokens());
  size_t bytes = 0;
  for (auto _ : state) bytes = qwen->decode(ids, true).size();
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations() * bytes));
}

void unpack(benchmark::State& state) {
  const Tokenizer* qwen = tokenizer(state);
  if (qwen == nullptr) return;
  const std::vector<std::byte> packed = qwen->packed();
  for (auto _ : state) benchmark::DoNotOptimize(Tokenizer::unpack(packed, "bench").num_tokens());
}

#define QUERN_WORST(name, unit) BENCHMARK_CAPTURE(worst, name, unit)->Arg(1)->Arg(2)->Arg(4)->Arg(8)->Unit(benchmark::kMillisecond)
QUERN_WORST(letters, "a");
QUERN_WORST(carets, "^");
QUERN_WORST(spaces, " ");
QUERN_WORST(newlines, "\n");
QUERN_WORST(one_cjk_character, "根");
QUERN_WORST(combining_marks, "\u0301");
BENCHMARK_CAPTURE(file, english, "wiki.test.raw")->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(file, chinese, "zh_hongloumeng.txt")->Unit(benchmark::kMillisecond);
BENCHMARK(decode)->Unit(benchmark::kMillisecond);
BENCHMARK(unpack)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace quern
