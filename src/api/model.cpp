#include "api/answer_state.h"
#include "api/translate.h"
#include "base/parse.h"
#include "base/utf8.h"
#include "engine/engine.h"
#include "text/chat_format.h"

namespace quern::v1 {
namespace {

Device parse_device(const std::string& text) {
  if (text == "cpu") return {};
  if (text == "cuda") return {Device::Kind::cuda, 0};
  constexpr std::string_view kPrefix = "cuda:";
  if (text.starts_with(kPrefix)) {
    const auto index = parse_number<unsigned>(std::string_view(text).substr(kPrefix.size()), 0, 255);
    if (index) return {Device::Kind::cuda, static_cast<uint8_t>(*index)};
  }
  raise(usage, "device: want cpu, cuda or cuda:N, found {}", escaped(text));
}

SamplingParams to_params(const Sampling& sampling, const SamplingParams& defaults) {
  SamplingParams params = defaults;
  params.temperature = sampling.temperature.value_or(params.temperature);
  params.top_p = sampling.top_p.value_or(params.top_p);
  params.top_k = sampling.top_k.value_or(params.top_k);
  params.min_p = sampling.min_p.value_or(params.min_p);
  params.repetition_penalty = sampling.repetition_penalty.value_or(params.repetition_penalty);
  params.presence_penalty = sampling.presence_penalty.value_or(params.presence_penalty);
  params.frequency_penalty = sampling.frequency_penalty.value_or(params.frequency_penalty);
  params.logit_bias.assign(sampling.logit_bias.begin(), sampling.logit_bias.end());
  params.seed = sampling.seed;
  params.max_tokens = sampling.max_tokens;
  params.min_tokens = sampling.min_tokens;
  params.stop.insert(params.stop.end(), sampling.stop.begin(), sampling.stop.end());
  params.stop_token_ids = sampling.stop_token_ids;
  params.ignore_eos = sampling.ignore_eos;
  params.include_stop_str_in_output = sampling.include_stop_in_text;
  params.skip_special_tokens = sampling.skip_special_tokens;
  params.logprobs = sampling.logprobs;
  return params;
}

}  // namespace

struct Model::State {
  State(const std::string& path, const OpenOptions& options)
      : backend({.device = parse_device(options.device), .num_threads = options.num_threads}),
        engine(EngineFile::open(path), backend,
               {.max_num_seqs = options.max_parallel,
                .max_model_len = options.max_context,
                .kv_cache_bytes = options.kv_cache_bytes,
                .enable_prefix_caching = options.prefix_caching}) {
    const ModelConfig& config = *engine.config();
    const ChatFormat* chat = engine.defaults().chat;
    const size_t block_bytes = KvCache::bytes_per_block(config, engine.options().block_tokens, *engine.options().kv_format);
    info = {.path = path,
            .family = config.family,
            .chat_format = chat == nullptr ? "" : chat->name,
            .device = backend.info().name,
            .vocabulary = engine.num_tokens(),
            .layers = config.num_layers,
            .max_context = engine.options().max_model_len,
            .weight_bytes = engine.transformer()->weight_bytes(),
            .kv_cache_bytes = engine.stats().kv_blocks * block_bytes};
    engine.start();
  }

  std::unique_ptr<Answer::State> submit(std::vector<TokenId> prompt, const Sampling& sampling) {
    return std::make_unique<Answer::State>(engine.submit(std::move(prompt), to_params(sampling, engine.defaults().params)));
  }

  Backend backend;
  quern::Engine engine;
  ModelInfo info;
};

Model::Model(const std::string& path, const OpenOptions& options)
    : state_(translated([&] { return std::make_unique<State>(path, options); })) {}
Model::Model(Model&&) noexcept = default;
Model& Model::operator=(Model&&) noexcept = default;
Model::~Model() = default;

const ModelInfo& Model::info() const { return state_->info; }

Answer Model::submit(std::vector<int32_t> prompt_ids, const Sampling& sampling) {
  return Answer(translated([&] { return state_->submit(std::move(prompt_ids), sampling); }));
}

Answer Model::submit(const std::string& prompt, const Sampling& sampling) {
  return Answer(translated([&] {
    const Tokenizer& tokenizer = state_->engine.tokenizer();
    return state_->submit(tokenizer.encode(prompt, Tokenizer::Specials::all, true), sampling);
  }));
}

Answer Model::submit(const std::vector<Message>& messages, const Sampling& sampling) {
  return Answer(translated([&] {
    const ChatFormat* chat = state_->engine.defaults().chat;
    if (chat == nullptr) raise(usage, "messages: {} is a text model without a chat format", escaped(state_->info.path));
    std::vector<ChatMessage> conversation;
    conversation.reserve(messages.size());
    for (const Message& message : messages) conversation.push_back({.role = message.role, .content = message.content});
    return state_->submit(encode_prompt(state_->engine.tokenizer(), chat->render(conversation, {})), sampling);
  }));
}

std::vector<int32_t> Model::tokenize(const std::string& text) const {
  return translated([&] { return state_->engine.tokenizer().encode(text, Tokenizer::Specials::all); });
}

std::string Model::detokenize(const std::vector<int32_t>& ids) const {
  return translated([&] { return utf8_repaired(state_->engine.tokenizer().decode(ids, false)); });
}

}  // namespace quern::v1
