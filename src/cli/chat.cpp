// quern chat: a conversation. Each turn sends the whole conversation; the prefix cache makes the part that is known cheap.
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <memory>

#include "cli/figures.h"
#include "cli/interrupt.h"
#include "cli/model_options.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/prompting.h"
#include "cli/sampling_options.h"
#include "cli/verbs.h"

namespace quern {

extern const Verb kChatVerb;

namespace {

struct Options {
  ModelOptions model;
  SamplingOptions sampling;
  std::string system, thinking = "auto";
  bool figures = false;
};

constexpr const char* kHelp =
    "/clear         forget the conversation\n"
    "/system TEXT   forget it and set the system message; without TEXT the model's own\n"
    "/help          this list\n"
    "/exit          end (also Ctrl-D)\n"
    "Ctrl-C         stop the answer\n";

// Lines of standard input, as the terminal hands them over.
class LineReader {
 public:
  enum class Result { line, end, interrupted };

  Result read(std::string& line) {
    for (;;) {
      const size_t end = buffer_.find('\n');
      if (end != std::string::npos) {
        line = buffer_.substr(0, end);
        buffer_.erase(0, end + 1);
        if (line.ends_with('\r')) line.pop_back();
        return Result::line;
      }
      char bytes[4096];
      const ssize_t count = ::read(STDIN_FILENO, bytes, sizeof bytes);
      if (count == -1 && errno == EINTR) return Result::interrupted;
      if (count == -1) raise(resource, "standard input: {}", std::strerror(errno));
      if (count == 0) {
        line = std::exchange(buffer_, {});
        return line.empty() ? Result::end : Result::line;
      }
      buffer_.append(bytes, static_cast<size_t>(count));
      if (buffer_.size() > kMaxLineBytes) raise(invalid_input, "standard input: want lines of at most {} bytes", kMaxLineBytes);
    }
  }

 private:
  static constexpr size_t kMaxLineBytes = size_t{16} << 20;
  std::string buffer_;
};

class Chat {
 public:
  Chat(const Options& options, Interrupt& interrupt)
      : options_(options),
        interrupt_(interrupt),
        is_terminal_(::isatty(STDIN_FILENO) != 0 && ::isatty(STDOUT_FILENO) != 0),
        model_(open_model(options.model, 1, interrupt)),
        style_(prompt_style(*model_.engine, false, options.system, options.thinking)) {
    if (style_.chat == nullptr)
      raise(usage, "{}: a text model, which cannot chat (quern run continues a text)", escaped(model_.file->path()));
    model_.engine->start();
  }

  int run() {
    if (is_terminal_) write_stderr("/help lists the commands; Ctrl-C stops an answer, Ctrl-D ends.\n");
    for (std::string line; !is_over_;) {
      if (is_terminal_) write_stdout("> ");
      const LineReader::Result result = reader_.read(line);
      if (result == LineReader::Result::end) break;
      if (result == LineReader::Result::interrupted) {
        if (is_asked_to_end()) return kStopped;
        if (is_terminal_) write_stdout("\n");
      } else if (line.starts_with('/')) {
        obey(line);
      } else if (line.find_first_not_of(" \t") != std::string::npos) {
        answer(line);
        if (is_asked_to_end()) return kStopped;
      }
    }
    if (is_terminal_) write_stdout("\n");
    return 0;
  }

 private:
  // Ctrl-C stops an answer only; the other signals end the chat.
  bool is_asked_to_end() {
    const int signal = interrupt_.signal();
    interrupt_.clear();
    return signal != 0 && signal != SIGINT;
  }

  void obey(const std::string& line) {
    const size_t space = line.find(' ');
    const std::string command = line.substr(0, space);
    if (command == "/exit" || command == "/quit" || command == "/bye") {
      is_over_ = true;
    } else if (command == "/clear") {
      messages_.clear();
    } else if (command == "/system") {
      const size_t text = space == std::string::npos ? space : line.find_first_not_of(' ', space);
      style_.system = text == std::string::npos ? "" : line.substr(text);
      messages_.clear();
    } else if (command == "/help") {
      write_stdout(kHelp);
    } else {
      write_stderr(fmt::format("{}: not a command; /help lists them\n", escaped(command, 60)));
    }
  }

  void answer(const std::string& text) {
    messages_.push_back({.role = "user", .content = text});
    try {
      Session session =
          model_.engine->submit(encode_messages(style_, messages_), apply(options_.sampling, model_.engine->defaults().params));
      messages_.push_back({.role = "assistant", .content = stream(session)});
    } catch (const Error& error) {
      if (error.code() != invalid_input) throw;
      messages_.pop_back();
      write_stderr(fmt::format("{} (/clear starts anew)\n", error.message()));
    }
  }

  std::string stream(Session& session) {
    std::string text;
    for (;;) {
      const std::optional<SessionOutput> output = session.read_for(std::chrono::milliseconds(100));
      if (interrupt_.requested()) session.cancel();
      if (!output) continue;
      if (!output->text.empty()) write_stdout(output->text);
      text += output->text;
      if (!output->finish) continue;
      if (!text.ends_with('\n')) write_stdout("\n");
      if (output->finish->reason == FinishReason::error) write_stderr(fmt::format("answer: {}\n", output->finish->detail));
      if (options_.figures) write_stderr(answer_figures(model_, *output->finish).line() + "\n");
      return text;
    }
  }

  const Options& options_;
  Interrupt& interrupt_;
  bool is_terminal_;
  RunningModel model_;
  PromptStyle style_;
  LineReader reader_;
  std::vector<ChatMessage> messages_;
  bool is_over_ = false;
};

int chat(const Options& options) {
  Interrupt interrupt;
  return Chat(options, interrupt).run();
}

VerbWork declare(CLI::App& app) {
  const auto options = std::make_shared<Options>();
  add_model_option(app, options->model);
  add_text(app, "--system,--system-prompt", options->system, "TEXT", "System message");
  add_choice(app, "--thinking", options->thinking, {"auto", "on", "off"}, "Whether a model that can think before it answers does");
  app.add_flag("--figures", options->figures, "Print what each answer took, on standard error");
  add_sampling_options(app, options->sampling);
  add_engine_options(app, options->model);
  add_device_options(app, options->model);
  app.footer("Every line is a message. Commands, at the beginning of a line:\n\n```\n" + std::string(kHelp) + "```");
  return [options] { return chat(*options); };
}

}  // namespace

const Verb kChatVerb = {"chat", "Talk with a model, line by line", &declare};

}  // namespace quern
