#include "cli/model_options.h"

#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/thread_pool.h"
#include "builder/model_cache.h"
#include "cli/options.h"
#include "cli/output.h"

namespace quern {
namespace {

constexpr size_t kMaxThreads = 1024, kMaxContext = size_t{1} << 24, kMaxSequences = 4096, kMaxBatchTokens = size_t{1} << 20;

// "auto": the first GPU when this build and machine have one, else the CPU.
Device parse_device(const std::string& text) {
  if (text == "cpu") return {};
  const size_t gpus = num_cuda_devices();
  if (text == "auto") return gpus > 0 ? Device{Device::Kind::cuda, 0} : Device{};
  if (text == "cuda") return {Device::Kind::cuda, 0};
  const std::optional<uint8_t> index = text.starts_with("cuda:") ? parse_number<uint8_t>(text.substr(5)) : std::nullopt;
  if (!index) raise(usage, "--device: want auto, cpu, cuda or cuda:N, found '{}'", escaped(text, 60));
  return {Device::Kind::cuda, *index};
}

}  // namespace

const std::vector<std::string>& kv_dtypes() {
  static const std::vector<std::string> kNames = {"auto", "f32", "f16", "bf16", "int8"};
  return kNames;
}

std::optional<Format> kv_format_named(const std::string& dtype) {
  if (dtype == "auto") return std::nullopt;
  return dtype == "int8" ? Format::i8 : find_format(dtype);
}

CLI::Option* add_model_option(CLI::App& app, ModelOptions& options) {
  return add_text(app, "-m,--model", options.model, "MODEL", "Engine file, GGUF file, or Hugging Face folder")->required();
}

void add_device_options(CLI::App& app, ModelOptions& options) {
  add_text(app, "--device", options.device, "NAME", "auto, cpu, cuda or cuda:N");
  add_number<size_t>(app, "-t,--threads", options.num_threads, 1, kMaxThreads, "CPU threads (default: every usable core)");
  add_text(app, "--kernel", options.kernels, "OP=ROW,...", "Run these kernel rows or fail");
  add_text(app, "--cpu-off", options.cpu_off, "SET,...", "Instruction sets not to use: avx512, avx2");
}

void add_engine_options(CLI::App& app, ModelOptions& options) {
  EngineOptions& engine = options.engine;
  add_number<size_t>(app, "-c,--ctx-size,--context,--max-model-len", engine.max_model_len, 0, kMaxContext,
                     "Most tokens of prompt and answer; 0: the model's own, lowered to what fits");
  add_number<size_t>(app, "--max-num-seqs,--parallel", options.max_num_seqs, 1, kMaxSequences, "Answers that are generated at one time");
  add_number<size_t>(app, "--max-num-batched-tokens,--batch-size", engine.max_num_batched_tokens, 0, kMaxBatchTokens,
                     "Tokens of one step; 0: chosen by device");
  add_choice(app, "--kv-cache-dtype,--cache-type-k", options.kv_dtype, kv_dtypes(), "Type of the KV cache; int8 on the CPU only");
  add_number<size_t>(app, "--kv-cache-memory-bytes", engine.kv_cache_bytes, 0, size_t{1} << 50,
                     "Bytes of the KV cache; 0: whole contexts for all answers, as far as memory goes");
  add_number<size_t>(app, "--block-size", engine.block_tokens, 1, 256, "Tokens of one KV block");
  add_number<double>(app, "--gpu-memory-utilization,--memory-share", engine.memory_share, 0.01, 1,
                     "Share of a GPU's memory, or of free main memory, that may be used");
  app.add_flag("--enable-prefix-caching,!--no-enable-prefix-caching,!--no-prefix-caching", engine.enable_prefix_caching,
               "Reuse the KV blocks of known prompt beginnings (on unless --no-prefix-caching)");
}

std::shared_ptr<EngineFile> open_engine_file(const ModelOptions& options, const Interrupt& interrupt) {
  ResolveOptions resolve;
  resolve.num_threads = options.num_threads.value_or(0);
  resolve.say = [](const std::string& line) { write_stderr(line + "\n"); };
  resolve.progress = [&interrupt](const BuildProgress&) { interrupt.check(); };
  const std::string path = resolve_model(options.model, resolve);
  if (const std::string warning = ownership_warning(path); !warning.empty()) log_warning("{}", warning);
  return EngineFile::open(path);
}

std::unique_ptr<Backend> open_backend(const ModelOptions& options) {
  return std::make_unique<Backend>(BackendOptions{.device = parse_device(options.device),
                                                  .num_threads = options.num_threads.value_or(0),
                                                  .forced_off = options.cpu_off,
                                                  .kernels = options.kernels});
}

RunningModel open_model(const ModelOptions& options, size_t max_num_seqs, const Interrupt& interrupt) {
  const double start = monotonic_seconds();
  RunningModel model;
  model.file = open_engine_file(options, interrupt);
  model.backend = open_backend(options);
  EngineOptions engine = options.engine;
  engine.max_num_seqs = options.max_num_seqs.value_or(max_num_seqs);
  engine.kv_format = kv_format_named(options.kv_dtype);
  model.engine = std::make_unique<Engine>(model.file, *model.backend, engine);
  interrupt.check();
  model.load_seconds = monotonic_seconds() - start;
  return model;
}

std::string ownership_warning(const std::string& path) {
  struct stat status = {};
  if (::stat(path.c_str(), &status) != 0) return "";
  const bool is_foreign = status.st_uid != ::geteuid() && status.st_uid != 0;
  if (is_foreign) return fmt::format("{}: belongs to user {}, who can change it", escaped(path), status.st_uid);
  if ((status.st_mode & (S_IWGRP | S_IWOTH)) != 0)
    return fmt::format("{}: others than its owner can change it (mode {:o})", escaped(path), status.st_mode & 07777);
  return "";
}

}  // namespace quern
