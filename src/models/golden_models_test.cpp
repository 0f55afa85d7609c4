// Logits of every family against the golden files of tools/make_model_goldens.py, and the promise that a row's bytes do not depend on
// how its sequence was cut into steps or on what shared them.
#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "models/test_models.h"
#include "source_dir.h"

namespace quern {
namespace {

using testing::build_engine;
using testing::logit_tolerance;
using testing::Runner;
using testing::same_logits;
using testing::TempFolder;
using testing::tests_run_on_a_gpu;

const std::string kGoldens = source_dir() + "/tests/goldens/models";

TransformerLimits limits_for_tests(size_t context = 256) {
  return {.max_batch_tokens = 192,
          .max_sequences = 8,
          .max_context = context,
          .max_logit_rows = 192,
          .block_tokens = 16,
          .kv_format = Format::f32};
}

struct Case {
  std::vector<int32_t> ids;
  size_t prompt_tokens;
  std::vector<size_t> rows;  // positions with golden logits
  bool dynamic_ntk, logn;
  size_t first_row;  // in logits.f32
};

struct Golden {
  std::string folder;
  std::vector<Case> cases;
  std::vector<float> logits;

  explicit Golden(const std::string& name) : folder(kGoldens + "/" + name) {
    const Json json = parse_json(read_text_file(folder + "/golden.json", 1 << 20), "golden.json");
    size_t rows = 0;
    for (const Json& c : json.at("cases")) {
      cases.push_back({c.at("ids"), c.at("prompt_tokens"), c.at("rows"), c.value("dynamic_ntk", true), c.value("logn", true), rows});
      rows += cases.back().rows.size();
    }
    const std::string bytes = read_text_file(folder + "/logits.f32", 1 << 24);
    logits.resize(bytes.size() / sizeof(float));
    std::memcpy(logits.data(), bytes.data(), bytes.size());
  }
  std::string source() const { return std::filesystem::exists(folder + "/model.gguf") ? folder + "/model.gguf" : folder; }
};

// Checkpoints that were quantized: the model computes with the values that their codes mean.
const std::string kQuantized = "../quantized/";

std::vector<std::string> quantized_names() {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(fmt::format("{}/{}", kGoldens, kQuantized)))
    names.push_back(fmt::format("{}{}", kQuantized, entry.path().filename().string()));
  std::ranges::sort(names);
  return names;
}

std::vector<std::string> golden_names() {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(kGoldens)) names.push_back(entry.path().filename());
  std::ranges::sort(names);
  return names;
}

struct Comparison {
  size_t logits = 0;
  double worst = 0;  // largest error in tolerances
};

using Change = std::function<void(ModelConfig&)>;

// Every golden logit of `golden` against a model whose config went through `change`.
Comparison compare(const Golden& golden, const TempFolder& folder, const Change& change = {}) {
  Comparison result;
  for (const bool ntk : {true, false}) {
    for (const bool logn : {true, false}) {
      std::unique_ptr<Runner> runner;
      for (const Case& c : golden.cases) {
        if (c.dynamic_ntk != ntk || c.logn != logn) continue;
        if (runner == nullptr) {
          uint32_t context = 0;
          const auto set = [&](ModelConfig& config) {
            if (config.family == "qwen1") config.rope.original_context = config.logn_length = 32;  // a GGUF has its context length there
            if (!ntk) config.rope.scaling = RopeConfig::Scaling::none;
            if (!logn) config.logn_attention = false;
            if (change) change(config);
            context = config.max_position_embeddings;
          };
          const auto file =
              build_engine(golden.source(), folder / "compared.quern", {.options = {.gguf_qwen1_long_context = true}, .change = set});
          runner = std::make_unique<Runner>(file, limits_for_tests(std::min(context, 256U)));
        }
        const std::vector<float> logits = runner->logits(c.ids, c.prompt_tokens, c.prompt_tokens);
        const size_t vocab = runner->vocab_size();
        for (size_t r = 0; r < c.rows.size(); ++r) {
          const std::span want = std::span(golden.logits).subspan((c.first_row + r) * vocab, vocab);
          const double tol = logit_tolerance(runner->model().config(), want);  // a wrong epsilon, rope entry or scale is 100 times larger
          for (size_t i = 0; i < vocab; ++i)
            result.worst = std::max(result.worst, std::fabs(logits[c.rows[r] * vocab + i] - want[i]) / tol);
          result.logits += vocab;
        }
      }
    }
  }
  return result;
}

TEST(GoldenModels, LogitsOfEveryFamily) {
  const TempFolder folder;
  std::vector<std::string> names = golden_names();
  ASSERT_GE(names.size(), 12U);
  for (const std::string& name : quantized_names()) names.push_back(name);
  ASSERT_GE(names.size(), 12U + 18U);
  for (const std::string& name : names) {
    const Golden golden(name);
    const Comparison result = compare(golden, folder);
    EXPECT_EQ(result.logits, golden.logits.size()) << name;
    EXPECT_LE(result.worst, 1) << name;
    printf("%-40s %6zu logits, largest error %.2f of the tolerance\n", name.c_str(), result.logits, result.worst);
  }
}

// The tolerance is tight enough: each number that is a little wrong is seen.
TEST(GoldenModels, WrongNumbersAreSeen) {
  if (tests_run_on_a_gpu()) GTEST_SKIP() << "activations of 16 bits hide some";
  const struct {
    const char* what;
    const char* model;
    void (*change)(ModelConfig&);
  } cases[] = {
      {"epsilon 1e-5 for 1e-6", "qwen2-gqa", [](ModelConfig& c) { c.norm_epsilon = 1e-5; }},
      {"epsilon 1e-6 for 1e-5", "llama-untied", [](ModelConfig& c) { c.norm_epsilon = 1e-6; }},
      {"base", "qwen3-wide-heads", [](ModelConfig& c) { c.rope.base *= 1.001; }},
      {"no YaRN", "qwen2-yarn-tied", [](ModelConfig& c) { c.rope.scaling = RopeConfig::Scaling::none; }},
      {"YaRN's factor on scores", "qwen2-yarn-tied", [](ModelConfig& c) { c.rope.attention_factor = 1.138; }},
      {"YaRN's ramp", "qwen3-yarn-window", [](ModelConfig& c) { c.rope.beta_slow = 2; }},
      {"llama3's bands", "llama3-scaled", [](ModelConfig& c) { c.rope.high_freq_factor = 4.1; }},
      {"no divisors", "llama3-scaled-gguf", [](ModelConfig& c) { c.rope.scaling = RopeConfig::Scaling::none; }},
      {"linear's factor", "llama-linear-tied", [](ModelConfig& c) { c.rope.factor = 2.501; }},
      {"a window one wider", "qwen2-window", [](ModelConfig& c) { c.windows[2] += 1; }},
      {"a window one narrower", "qwen2-window", [](ModelConfig& c) { c.windows[1] -= 1; }},
      {"a window in the wrong layer", "qwen3-yarn-window", [](ModelConfig& c) { std::swap(c.windows[1], c.windows[2]); }},
      {"NTK one token late", "qwen1-ntk", [](ModelConfig& c) { c.rope.original_context = 33; }},
      {"no NTK", "qwen1-ntk", [](ModelConfig& c) { c.rope.scaling = RopeConfig::Scaling::none; }},
      {"logn's length", "qwen1-ntk", [](ModelConfig& c) { c.logn_length = 33; }},
      {"no logn", "qwen1-gguf", [](ModelConfig& c) { c.logn_attention = false; }},
  };
  const TempFolder folder;
  for (const auto& c : cases) EXPECT_GT(compare(Golden(c.model), folder, c.change).worst, 3) << c.model << ": " << c.what;
}

// Every golden model: the same bytes whole, in chunks, token by token, after preemption, and with more threads.
TEST(GoldenModels, StepsDoNotChangeBytes) {
  const TempFolder folder;
  for (const std::string& name : golden_names()) {
    SCOPED_TRACE(name);
    const Golden golden(name);
    const std::shared_ptr<EngineFile> file =
        build_engine(golden.source(), folder / (name + ".quern"), {.options = {.gguf_qwen1_long_context = true}});
    Runner runner(file, limits_for_tests(128)), threads(file, limits_for_tests(128), 64, 3);
    const Case& c = golden.cases[std::min<size_t>(4, golden.cases.size() - 1)];
    const std::vector<int32_t> ids(c.ids.begin(), c.ids.begin() + static_cast<ptrdiff_t>(std::min<size_t>(c.ids.size(), 120)));
    const std::vector<float> whole = runner.logits(ids, c.prompt_tokens, ids.size());
    const auto is_whole = [&](const std::vector<float>& logits) { return same_logits(runner.model().config(), logits, whole); };
    for (const size_t chunk : {1, 2, 7, 16, 33}) EXPECT_TRUE(is_whole(runner.logits(ids, c.prompt_tokens, chunk))) << "chunks of " << chunk;
    EXPECT_TRUE(is_whole(threads.logits(ids, c.prompt_tokens, 50))) << "three threads";
    // Preempted half-way, then recomputed in other blocks with the prompt's own rope variant.
    Runner::Sequence s = runner.start(ids, c.prompt_tokens);
    runner.step({{&s, ids.size() / 2}});
    runner.finish(s);
    EXPECT_TRUE(is_whole(runner.logits(ids, c.prompt_tokens, 5))) << "after preemption";
  }
}

// Random arrivals of sequences of all lengths (so of every NTK variant) in mixed steps: each gives the bytes that it gives alone.
TEST(GoldenModels, MixedBatchesDoNotChangeBytes) {
  const TempFolder folder;
  for (const std::string name : {"qwen1-ntk", "qwen2-window", "qwen3-yarn-window", "qwen2-gqa"}) {
    SCOPED_TRACE(name);
    Runner runner(build_engine(Golden(name).source(), folder / (name + ".quern")), limits_for_tests(128), 96);
    std::mt19937 random(17);
    std::vector<std::vector<int32_t>> ids;
    std::vector<size_t> prompts;
    std::vector<std::vector<float>> alone;
    for (const size_t length : {1, 5, 31, 33, 64, 65, 100, 16, 128, 40}) {
      std::vector<int32_t> sequence(length);
      for (int32_t& id : sequence) id = static_cast<int32_t>(random() % runner.vocab_size());
      prompts.push_back(length - length / 5);
      alone.push_back(runner.logits(sequence, prompts.back(), length));
      ids.push_back(std::move(sequence));
    }
    std::vector<Runner::Sequence> running;
    std::vector<size_t> index;
    size_t next = 0;
    while (next < ids.size() || !running.empty()) {
      while (next < ids.size() && running.size() < 6 && (running.empty() || random() % 2 == 0)) {
        running.push_back(runner.start(ids[next], prompts[next]));
        index.push_back(next++);
      }
      std::vector<std::pair<Runner::Sequence*, size_t>> work;
      for (Runner::Sequence& s : running) {
        if (random() % 4 != 0)
          work.emplace_back(&s, std::min<size_t>(s.ids.size() - s.done, s.done < s.prompt_tokens ? 1 + random() % 24 : 1));
      }
      if (work.empty()) continue;
      std::stable_partition(work.begin(), work.end(), [](const auto& item) { return item.second == 1; });
      runner.step(work);
      for (size_t i = running.size(); i-- > 0;) {
        if (running[i].done < running[i].ids.size()) continue;
        EXPECT_TRUE(same_logits(runner.model().config(), running[i].logits, alone[index[i]])) << "sequence of " << running[i].ids.size();
        runner.finish(running[i]);
        running.erase(running.begin() + static_cast<ptrdiff_t>(i));
        index.erase(index.begin() + static_cast<ptrdiff_t>(i));
      }
    }
  }
}

TEST(GoldenModels, Stories) {
  std::string source = source_dir() + "/tests/models/stories260K-qwen2";
  if (!std::filesystem::exists(source)) source = source_dir() + "/../shared/data/models/stories260K-qwen2";
  if (!std::filesystem::exists(source)) GTEST_SKIP() << "no " << source;
  const TempFolder folder;
  TransformerLimits limits = limits_for_tests(512);
  Runner runner(build_engine(source, folder / "stories.quern"), limits);
  const Json golden = parse_json(read_text_file(source + "/golden.json", 1 << 20), "golden.json");
  const std::vector<int32_t> want = golden.at("greedy_ids");
  std::vector<int32_t> ids = golden.at("prompt_ids");
  ASSERT_EQ(want.size(), 255U);
  ids.resize(ids.size() + want.size());
  Runner::Sequence s = runner.start(ids, 1);
  for (size_t i = 0; i < want.size(); ++i) {
    runner.step({{&s, 1}});
    const std::span row = std::span(s.logits).last(runner.vocab_size());
    if (i == 0) {
      const std::vector<float> first = golden.at("logits_after_bos");
      for (size_t t = 0; t < first.size(); ++t) ASSERT_NEAR(row[t], first[t], logit_tolerance(runner.model().config(), first)) << t;
    }
    const auto best = static_cast<int32_t>(std::ranges::max_element(row) - row.begin());
    if (best != want[i] && tests_run_on_a_gpu()) {  // a near tie
      EXPECT_LT(row[static_cast<size_t>(best)] - row[static_cast<size_t>(want[i])], 0.02) << "token " << i;
    } else {
      ASSERT_EQ(best, want[i]) << "token " << i;
    }
    s.ids[s.done] = want[i];
  }
}

// Products of bf16 pairs, where the processor has them: each of the n = 7 * layers + 2 operations rounds its input by 2^-9 at most, as
// independent errors, and an operation adds as many terms with as many signs. Eight times that is beyond chance.
TEST(GoldenModels, ProductsOfBf16) {
  if (tests_run_on_a_gpu()) GTEST_SKIP() << "of the CPU";
  const TempFolder folder;
  const Golden golden("qwen2-gqa");
  const std::shared_ptr<EngineFile> file =
      build_engine(golden.source(), folder / "m.quern", {.format = [](const std::string&) { return Format::bf16; }});
  const Case& c = golden.cases.back();
  Runner exact(file, limits_for_tests(), 64, 1, "bf16"), runner(file, limits_for_tests());
  const std::vector<float> want = exact.logits(c.ids, c.ids.size(), c.ids.size());
  const std::vector<float> whole = runner.logits(c.ids, c.ids.size(), c.ids.size());
  EXPECT_TRUE(same_logits(runner.model().config(), runner.logits(c.ids, c.ids.size(), 3), whole));
  float largest = 0;
  for (const float value : want) largest = std::max(largest, std::fabs(value));
  const double tolerance = 8 * std::sqrt(7.0 * runner.model().config().num_layers + 2) * 0x1p-9 * largest;
  for (size_t i = 0; i < want.size(); ++i) ASSERT_NEAR(whole[i], want[i], tolerance) << i;
}

// 16-bit caches: K and V are rounded once, so a score errs by 2^-p of sum |q k| and the output of attention by as much of |v|.
TEST(GoldenModels, SixteenBitCaches) {
  const TempFolder folder;
  const Golden golden("qwen2-gqa");
  const std::shared_ptr<EngineFile> file = build_engine(golden.source(), folder / "m.quern");
  const Case& c = golden.cases.back();
  Runner exact(file, limits_for_tests());
  const std::vector<float> want = exact.logits(c.ids, c.ids.size(), c.ids.size());
  for (const Format format : {Format::f16, Format::bf16}) {
    TransformerLimits limits = limits_for_tests();
    limits.kv_format = format;
    Runner runner(file, limits);
    const std::vector<float> whole = runner.logits(c.ids, c.ids.size(), c.ids.size());
    EXPECT_TRUE(same_logits(runner.model().config(), runner.logits(c.ids, c.ids.size(), 3), whole));
    double square = 0, difference = 0;
    for (size_t i = 0; i < want.size(); ++i) square += want[i] * want[i], difference += (whole[i] - want[i]) * (whole[i] - want[i]);
    const double rms = std::sqrt(difference / square);
    EXPECT_GT(rms, 0) << format_name(format);
    // Two layers with scores of up to 16 (weights of 1.5 / sqrt(in)): 2 * 16 roundings of relative size 2^-11 or 2^-8.
    EXPECT_LT(rms, 32 * (format == Format::f16 ? 0x1p-11 : 0x1p-8)) << format_name(format);
  }
}

}  // namespace
}  // namespace quern
