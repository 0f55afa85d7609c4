// The options by which run, chat, bench and tokenize name a model and say how it is run, and the model that they open.
#pragma once
#include <CLI/CLI.hpp>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "backend/backend.h"
#include "cli/interrupt.h"
#include "engine/engine.h"
#include "files/engine_file.h"

namespace quern {

struct ModelOptions {
  std::string model;
  std::string device = "auto";
  std::string kernels, cpu_off;
  std::optional<size_t> num_threads;
  std::optional<size_t> max_num_seqs;
  EngineOptions engine;           // but for max_num_seqs
  std::string kv_dtype = "auto";  // one of kv_dtypes()
};

// What --kv-cache-dtype takes, and the format that it names; nothing for "auto".
const std::vector<std::string>& kv_dtypes();
std::optional<Format> kv_format_named(const std::string& dtype);

// -m MODEL, required.
CLI::Option* add_model_option(CLI::App& app, ModelOptions& options);
// -t, --device, --kernel, --cpu-off.
void add_device_options(CLI::App& app, ModelOptions& options);
// -c, --max-num-seqs, --max-num-batched-tokens, --kv-cache-dtype, --kv-cache-memory-bytes, --block-size, --no-prefix-caching.
void add_engine_options(CLI::App& app, ModelOptions& options);

// The engine file of a MODEL: itself, or the one that is built once into the cache from a GGUF or a Hugging Face folder (told on stderr).
// Throws StoppedBySignal when `interrupt` asks for it while building.
std::shared_ptr<EngineFile> open_engine_file(const ModelOptions& options, const Interrupt& interrupt);

std::unique_ptr<Backend> open_backend(const ModelOptions& options);

// Members in the order of their lives: the engine goes first.
struct RunningModel {
  std::shared_ptr<EngineFile> file;
  std::unique_ptr<Backend> backend;
  std::unique_ptr<Engine> engine;
  double load_seconds = 0;
};

// `max_num_seqs`: what the verb takes when the command line says nothing.
RunningModel open_model(const ModelOptions& options, size_t max_num_seqs, const Interrupt& interrupt);

// What is told of an engine file that others could have changed (E11): "" or one line.
std::string ownership_warning(const std::string& path);

}  // namespace quern
