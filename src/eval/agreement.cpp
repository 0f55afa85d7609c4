#include "eval/agreement.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "engine/engine.h"
#include "engine/engine_loader.h"

namespace quern {
namespace {

constexpr size_t kForcedStep = 128;      // tokens of a step under teacher forcing
constexpr size_t kGreedySequences = 16;  // answers that are generated at one time

constexpr uint64_t kMaxReferenceBytes = uint64_t{256} << 20;
constexpr size_t kMaxTokens = size_t{1} << 20;  // of one prompt or answer

std::vector<int32_t> ids_of(const JsonFields& fields, const char* name, size_t num_tokens) {
  const std::vector<int64_t> wide = fields.optional_ids(name);
  if (wide.empty() || wide.size() > kMaxTokens)
    raise(invalid_input, "{}: {}: want 1 to {} token ids, found {}", fields.where(), name, kMaxTokens, wide.size());
  std::vector<int32_t> ids;
  for (const int64_t id : wide) {
    if (id < 0 || static_cast<uint64_t>(id) >= num_tokens)
      raise(invalid_input, "{}: {}: want ids below {}, found {}", fields.where(), name, num_tokens, id);
    ids.push_back(static_cast<int32_t>(id));
  }
  return ids;
}

std::vector<ReferenceAnswer::TopTwo> top_two_of(const JsonFields& fields, std::span<const int32_t> output_ids) {
  const Json* entries = fields.has("top2") ? &fields.raw().at("top2") : nullptr;
  if (entries == nullptr || !entries->is_array() || entries->size() != output_ids.size()) {
    raise(invalid_input, "{}: top2: want a list of {} entries", fields.where(), output_ids.size());
  }
  std::vector<ReferenceAnswer::TopTwo> top;
  for (size_t i = 0; i < output_ids.size(); ++i) {
    const Json& e = entries->at(i);
    const bool is_entry =
        e.is_array() && e.size() == 4 && e[0].is_number_integer() && e[1].is_number() && e[2].is_number_integer() && e[3].is_number();
    if (!is_entry || e[0] != output_ids[i]) {
      raise(invalid_input, "{}: top2[{}]: want [{}, logprob, id, logprob]", fields.where(), i, output_ids[i]);
    }
    top.push_back({e[0].get<int32_t>(), e[2].get<int32_t>(), e[1].get<double>(), e[3].get<double>()});
  }
  return top;
}

double logprob(std::span<const float> logits, int32_t id) {
  const float most = *std::ranges::max_element(logits);
  double sum = 0;
  for (const float logit : logits) sum += std::exp(static_cast<double>(logit - most));
  return static_cast<double>(logits[static_cast<size_t>(id)] - most) - std::log(sum);
}

void compare(const ReferenceAnswer& answer, size_t index, std::span<const float> logits, Agreement& agreement) {
  const ReferenceAnswer::TopTwo& top = answer.top_two[index];
  const double error = std::fabs(logprob(logits, top.first) - top.first_logprob);
  agreement.largest_logprob_error =
      std::max(agreement.largest_logprob_error, std::isfinite(error) ? error : std::numeric_limits<double>::infinity());
  agreement.mean_logprob_error += (error - agreement.mean_logprob_error) / static_cast<double>(++agreement.tokens);
  const auto found = static_cast<int32_t>(std::ranges::max_element(logits) - logits.begin());
  if (found == top.first) return;
  agreement.differences.push_back({.id = answer.id,
                                   .index = index,
                                   .want = top.first,
                                   .found = found,
                                   .in_top_two = found == top.second,
                                   .margin = top.first_logprob - top.second_logprob});
}

// Prompt and answer but its last token in chunks; each chunk's logits that predict an output token are compared.
void run_answer(Transformer& model, KvCache& cache, const ReferenceAnswer& answer, size_t num_tokens, Agreement& agreement) {
  std::vector<int32_t> ids = answer.prompt_ids;
  ids.insert(ids.end(), answer.output_ids.begin(), answer.output_ids.end() - 1);
  const size_t block_tokens = cache.block_tokens(), prompt = answer.prompt_ids.size();
  const size_t num_blocks = (ids.size() + block_tokens - 1) / block_tokens;
  if (ids.size() > model.limits().max_context || num_blocks > cache.num_blocks()) {
    raise(resource, "{}: want room for {} tokens, found a context of {} and {} KV blocks of {}", answer.id, ids.size(),
          model.limits().max_context, cache.num_blocks(), block_tokens);
  }
  std::vector<uint32_t> blocks(num_blocks);
  std::iota(blocks.begin(), blocks.end(), 0);
  const size_t most = std::min(model.limits().max_batch_tokens, model.limits().max_logit_rows);
  for (size_t begin = 0; begin < ids.size();) {
    const size_t end = std::min(ids.size(), begin + most);
    const size_t first_wanted = std::max(begin, prompt - 1);  // the row of token i predicts token i + 1
    ForwardBatch batch;
    batch.sequences = {{.token_ids = std::span(ids).subspan(begin, end - begin),
                        .first_position = static_cast<int32_t>(begin),
                        .blocks = blocks,
                        .rope_variant = model.rope_variant(prompt),
                        .wants_logits = first_wanted < end,
                        .logit_tokens = first_wanted < end ? static_cast<int32_t>(end - first_wanted) : 1}};
    model.forward(batch, cache);
    const size_t vocab = model.config().vocab_size;
    for (size_t i = first_wanted; i < end; ++i) {
      compare(answer, i + 1 - prompt, std::span(model.kept_logits()).subspan((i - first_wanted) * vocab, num_tokens), agreement);
    }
    begin = end;
  }
}

size_t longest(std::span<const ReferenceAnswer> answers) {
  size_t tokens = 1;
  for (const ReferenceAnswer& answer : answers) tokens = std::max(tokens, answer.prompt_ids.size() + answer.output_ids.size());
  return tokens;
}

}  // namespace

std::vector<ReferenceAnswer> read_reference(const std::string& path, size_t num_tokens) {
  const std::string text = read_text_file(path, kMaxReferenceBytes);
  std::vector<ReferenceAnswer> answers;
  size_t number = 0;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    const std::string_view line = std::string_view(text).substr(begin, end - begin);
    begin = end + 1;
    const std::string where = fmt::format("{}: line {}", path, ++number);
    if (line.find_first_not_of(" \t\r") == line.npos) continue;
    const Json json = parse_json(line, where);
    const JsonFields fields(json, where);
    ReferenceAnswer answer;
    answer.id = fields.text({"id"});
    answer.prompt_ids = ids_of(fields, "prompt_ids", num_tokens);
    answer.output_ids = ids_of(fields, "output_ids", num_tokens);
    answer.top_two = top_two_of(fields, answer.output_ids);
    answers.push_back(std::move(answer));
  }
  if (answers.empty()) raise(invalid_input, "{}: want reference answers, found none", path);
  return answers;
}

double Agreement::largest_margin() const {
  double largest = 0;
  for (const Disagreement& d : differences) largest = std::max(largest, d.in_top_two ? d.margin : std::numeric_limits<double>::infinity());
  return largest;
}

Agreement measure_agreement(Transformer& model, KvCache& cache, std::span<const ReferenceAnswer> answers, size_t num_tokens,
                            const AgreementProgress& progress) {
  CHECK(num_tokens >= 1 && num_tokens <= model.config().vocab_size, "{} tokens", num_tokens);
  model.keep_logits(true);
  Agreement agreement;
  size_t done = 0;
  for (const ReferenceAnswer& answer : answers) {
    run_answer(model, cache, answer, num_tokens, agreement);
    if (progress) progress(++done, agreement);
  }
  model.keep_logits(false);
  return agreement;
}

Agreement measure_agreement(const std::shared_ptr<EngineFile>& file, Backend& backend, std::span<const ReferenceAnswer> answers,
                            size_t num_tokens, std::optional<Format> kv_format, const AgreementProgress& progress) {
  TransformerLimits limits{.max_batch_tokens = kForcedStep,
                           .max_sequences = 1,
                           .max_context = longest(answers),
                           .max_logit_rows = kForcedStep,
                           .kv_format = kv_format_for(file->tensors(), {.kv_format = kv_format})};
  Transformer model(file, backend, limits, num_tokens);
  KvCache cache(model.config(), backend, limits.max_context / limits.block_tokens + 1, limits.block_tokens, limits.kv_format);
  return measure_agreement(model, cache, answers, num_tokens, progress);
}

GreedyAgreement measure_greedy_agreement(const std::shared_ptr<EngineFile>& file, Backend& backend,
                                         std::span<const ReferenceAnswer> answers, std::optional<Format> kv_format,
                                         const std::function<void(size_t done)>& progress) {
  const size_t context = longest(answers) + 1;
  const size_t num_seqs = std::min(answers.size(), kGreedySequences);
  Engine engine(file, backend, {.max_num_seqs = num_seqs, .max_model_len = context, .kv_format = kv_format});
  std::vector<Session> sessions;
  for (const ReferenceAnswer& answer : answers) {
    SamplingParams params{.temperature = 0};
    params.max_tokens = static_cast<int64_t>(answer.output_ids.size());
    params.ignore_eos = true;
    sessions.push_back(engine.submit(answer.prompt_ids, params));
  }
  const auto num_done = [&] {
    const EngineStats stats = engine.stats();
    return stats.finished_length + stats.finished_stop + stats.failed;
  };
  while (engine.step()) {
    if (progress) progress(num_done());
  }
  GreedyAgreement result;
  for (size_t i = 0; i < answers.size(); ++i) {
    const SessionOutput output = sessions[i].read_all();
    if (output.finish && output.finish->reason == FinishReason::error) {
      raise(invalid_input, "{}: no answer: {}", escaped(answers[i].id), output.finish->detail);
    }
    const std::vector<int32_t>& want = answers[i].output_ids;
    size_t common = 0;
    while (common < std::min(want.size(), output.tokens.size()) && output.tokens[common].id == want[common]) ++common;
    result.common.push_back(common);
    result.tokens += want.size();
    result.equal_tokens += common;
    result.equal += common == want.size() ? 1 : 0;
  }
  return result;
}

}  // namespace quern
