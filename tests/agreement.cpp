// quern_agreement ENGINE.quern REFERENCE.jsonl [KV_FORMAT]: teacher-forced agreement of an engine with the answers of another program
// (tools/hf_reference.py). Prints every difference and the totals; exit status 0 whatever they are.
#include "eval/agreement.h"

#include <cstdio>

#include "text/tokenizer.h"

namespace quern {
namespace {

int run(const std::string& engine, const std::string& reference, Format kv_format) {
  const std::shared_ptr<EngineFile> file = EngineFile::open(engine);
  const size_t num_tokens = Tokenizer::unpack(file->tokenizer_bytes(), engine).num_tokens();
  const std::vector<ReferenceAnswer> answers = read_reference(reference, num_tokens);
  size_t longest = 1;
  for (const ReferenceAnswer& answer : answers) longest = std::max(longest, answer.prompt_ids.size() + answer.output_ids.size());
  Backend backend;
  const TransformerLimits limits{
      .max_batch_tokens = 128, .max_sequences = 1, .max_context = longest, .max_logit_rows = 128, .kv_format = kv_format};
  Transformer model(file, backend, limits, num_tokens);
  KvCache cache(model.config(), backend, longest / limits.block_tokens + 1, limits.block_tokens, kv_format);
  const Agreement agreement = measure_agreement(model, cache, answers, num_tokens, [&](size_t done, const Agreement& so_far) {
    std::fprintf(stderr, "\r%zu of %zu answers, %zu of %zu tokens agree ", done, answers.size(), so_far.tokens - so_far.differences.size(),
                 so_far.tokens);
  });
  std::fputc('\n', stderr);
  for (const Disagreement& d : agreement.differences) {
    fmt::print("{} token {}: want {}, found {}, {}\n", d.id, d.index, d.want, d.found,
               d.in_top_two ? fmt::format("margin {:.6f} nats", d.margin) : "not in the top two");
  }
  fmt::print("{} of {} tokens agree ({:.3f} %), largest margin {:.6f} nats, logprob error: mean {:.2e}, largest {:.2e}\n",
             agreement.tokens - agreement.differences.size(), agreement.tokens, 100 * agreement.share(), agreement.largest_margin(),
             agreement.mean_logprob_error, agreement.largest_logprob_error);
  return 0;
}

}  // namespace
}  // namespace quern

int main(int argc, char** argv) {
  try {
    const std::optional<quern::Format> format = quern::find_format(argc > 3 ? argv[3] : "f32");
    if (argc < 3 || argc > 4 || !format) quern::raise(quern::usage, "usage: quern_agreement ENGINE.quern REFERENCE.jsonl [f32|f16|bf16]");
    return quern::run(argv[1], argv[2], *format);
  } catch (const quern::Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return static_cast<int>(error.code());
  }
}
