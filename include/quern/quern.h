// Quern: build an engine file from a Qwen checkpoint, open it, submit prompts, read tokens, cancel.
// Everything here is safe to call from any thread unless a line says otherwise. Link with quern::quern (CMake) or `pkg-config quern`.
#pragma once
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#ifndef QUERN_API_NAMESPACE
#define QUERN_API_NAMESPACE inline namespace v1
#endif

namespace quern {
QUERN_API_NAMESPACE {
  const char* version();  // "0.1.0"

  // Every failure. The code is also the exit status of the `quern` program.
  enum class ErrorCode : int {
    usage = 2,          // a value out of its range
    invalid_input = 3,  // a broken file, a prompt that does not fit
    resource = 4,       // memory, disk, permissions
    incompatible = 5,   // version, architecture, device or format that is not supported here
    internal = 70,      // a bug or a device fault
  };

  class Error : public std::exception {
   public:
    Error(ErrorCode code, std::string message);
    ~Error() override;
    ErrorCode code() const noexcept { return code_; }
    const std::string& message() const noexcept { return message_; }
    const char* what() const noexcept override { return message_.c_str(); }

   private:
    ErrorCode code_;
    std::string message_;
  };

  // --- Building ---

  struct BuildOptions {
    std::string source;                                                        // a Hugging Face folder or a .gguf file
    std::string output;                                                        // NAME.quern
    std::string dtype = "auto";                                                // auto, f32, f16, bf16, int8, int4
    size_t group_size = 0;                                                     // 32, 64, 128; 0: the default of the dtype
    size_t num_threads = 0;                                                    // 0: every usable core
    std::function<void(double share, const std::string& what)> progress = {};  // share in [0, 1]; on the calling thread
  };

  // Writes an engine file. Nothing bears the output's name until it is complete.
  void build(const BuildOptions& options);

  // --- Running ---

  struct OpenOptions {
    std::string device = "cpu";  // "cpu", "cuda", "cuda:N"
    size_t num_threads = 0;      // 0: every usable core
    size_t max_context = 0;      // tokens of prompt and answer; 0: the model's own, lowered to what fits
    size_t max_parallel = 16;    // answers generated at one time; more wait
    size_t kv_cache_bytes = 0;   // 0: chosen from the two above and the free memory
    bool prefix_caching = true;
  };

  // Absent values are the model's own, where its file has one, or else those of the comment.
  struct Sampling {
    std::optional<double> temperature;                          // 1; 0 is greedy
    std::optional<double> top_p;                                // 1
    std::optional<int64_t> top_k;                               // off (0)
    std::optional<double> min_p;                                // 0
    std::optional<double> repetition_penalty;                   // 1
    std::optional<double> presence_penalty, frequency_penalty;  // 0
    std::vector<std::pair<int32_t, double>> logit_bias;
    std::optional<int64_t> seed;        // another one each time
    std::optional<int64_t> max_tokens;  // to the end of the context
    int64_t min_tokens = 0;
    std::vector<std::string> stop;
    std::vector<int64_t> stop_token_ids;
    bool ignore_eos = false;
    bool include_stop_in_text = false;
    bool skip_special_tokens = true;
    std::optional<int64_t> logprobs;  // 0 to 20 likeliest tokens beside the drawn one
  };

  struct Message {
    std::string role;  // system, user, assistant
    std::string content;
  };

  struct ModelInfo {
    std::string path, family, chat_format;  // chat_format is empty for a text model
    std::string device;
    size_t vocabulary = 0, layers = 0, max_context = 0;
    uint64_t weight_bytes = 0, kv_cache_bytes = 0;
  };

  struct Token {
    int32_t id = 0;
    float logprob = 0;                                // when asked for
    std::vector<std::pair<int32_t, float>> top = {};  // likeliest first; when asked for
  };

  struct Result {
    std::string finish_reason;  // stop, length, cancelled, error
    std::string stop;           // the stop string that ended it, if one did
    std::string detail;         // error: what happened
    size_t prompt_tokens = 0, cached_tokens = 0, output_tokens = 0;
    double seconds_queued = 0, seconds_to_first_token = 0, seconds = 0;
  };

  struct Piece {
    std::vector<Token> tokens;
    std::string text;  // whole characters only
  };

  // One answer being generated. One thread reads it; any may cancel it. Destroying it cancels what is unfinished.
  class Answer {
   public:
    Answer(Answer&&) noexcept;
    Answer& operator=(Answer&&) noexcept;
    ~Answer();

    // Waits for the next piece. False once the answer has ended and everything was read.
    bool read(Piece& piece);
    // Waits for the end and returns all text that was not yet read.
    std::string text();
    void cancel();
    // After the end.
    const Result& result() const;

   private:
    friend class Model;
    struct State;
    explicit Answer(std::unique_ptr<State> state);
    std::unique_ptr<State> state_;
  };

  // An open engine file with its weights loaded and a thread that runs it. Must outlive no Answer: answers end as cancelled with it.
  class Model {
   public:
    explicit Model(const std::string& path, const OpenOptions& options = {});
    Model(Model&&) noexcept;
    Model& operator=(Model&&) noexcept;
    ~Model();

    const ModelInfo& info() const;

    // `prompt` as it is: special tokens in it are parsed.
    Answer submit(const std::string& prompt, const Sampling& sampling = {});
    // A conversation in the model's chat format; special tokens inside a message stay text. Throws usage for a text model.
    Answer submit(const std::vector<Message>& messages, const Sampling& sampling = {});
    Answer submit(std::vector<int32_t> prompt_ids, const Sampling& sampling = {});

    std::vector<int32_t> tokenize(const std::string& text) const;
    std::string detokenize(const std::vector<int32_t>& ids) const;  // invalid UTF-8 as U+FFFD

   private:
    struct State;
    std::unique_ptr<State> state_;
  };

}  // namespace v1
}  // namespace quern
