#include "cli/foreign_options.h"

#include "base/log.h"

namespace quern {
namespace {

constexpr const char* kFlags[] = {"--enable-auto-tool-choice",
                                  "--enable-chunked-prefill",
                                  "--no-enable-chunked-prefill",
                                  "--enforce-eager",
                                  "--trust-remote-code",
                                  "--jinja",
                                  "--metrics",
                                  "--slots",
                                  "--enable-request-id-headers",
                                  "--flash-attn",
                                  "--disable-log-stats",
                                  "--enable-log-requests",
                                  "--disable-uvicorn-access-log",
                                  "--disable-fastapi-docs",
                                  "--async-scheduling",
                                  "--cont-batching",
                                  "--mlock",
                                  "--no-mmap"};
constexpr const char* kValues[] = {"--reasoning-parser",
                                   "--dtype",
                                   "--seed",
                                   "--generation-config",
                                   "--reasoning-format",
                                   "--quantization",
                                   "--tensor-parallel-size",
                                   "--pipeline-parallel-size",
                                   "--uvicorn-log-level",
                                   "--max-log-len",
                                   "--load-format",
                                   "--tokenizer-mode",
                                   "--download-dir",
                                   "--swap-space",
                                   "--chat-template-content-format",
                                   "--n-gpu-layers",
                                   "--ubatch-size",
                                   "--task",
                                   "--runner"};

struct Hint {
  std::string_view flag, instead;
};
constexpr Hint kHints[] = {
    {"--chat-template", "the model's own chat format is used; /v1/completions takes a prompt as it is"},
    {"--chat-template-file", "the model's own chat format is used; /v1/completions takes a prompt as it is"},
    {"--default-chat-template-kwargs", "each request says so: chat_template_kwargs"},
    {"--override-generation-config", "each request says so; without it the model's generation_config.json holds"},
    {"--temp", "each request says so: temperature"},
    {"--root-path", "the proxy takes the prefix off"},
    {"--api-prefix", "the proxy takes the prefix off"},
    {"--tokenizer", "the tokenizer is in the model"},
    {"--revision", "nothing is downloaded: MODEL is a file or a folder"},
    {"--hf-repo", "nothing is downloaded: MODEL is a file or a folder"},
    {"--enable-lora", "adapters are not served: merge them into the checkpoint"},
    {"--lora-modules", "adapters are not served: merge them into the checkpoint"},
    {"--lora", "adapters are not served: merge them into the checkpoint"},
    {"--speculative-config", "there is no speculation"},
    {"--model-draft", "there is no speculation"},
    {"--embeddings", "the models served have no pooling"},
    {"--reranking", "the models served have no pooling"},
    {"--cpu-offload-gb", "a model is on one device; --device cpu takes the main memory"},
    {"--allowed-methods", "--allowed-origins is all that is asked"},
    {"--allowed-headers", "--allowed-origins is all that is asked"},
    {"-np", "use --parallel"},
    {"-b", "use --batch-size"},
    {"-ngl", "use --device"},
};

}  // namespace

void accept_foreign_flags(CLI::App& app, std::string& text) {
  const auto warn = [](const std::string& name) { log_warning("{}: has no effect here", name); };
  for (const char* name : kFlags) app.add_flag_callback(name, [warn, name] { warn(name); })->group("");
  for (const char* name : kValues) {
    app.add_option_function<std::string>(name, [warn, name, &text](const std::string& value) { text = value, warn(name); })->group("");
  }
}

std::string_view foreign_flag_hint(std::string_view flag) {
  for (const Hint& hint : kHints) {
    if (hint.flag == flag) return hint.instead;
  }
  return "";
}

}  // namespace quern
