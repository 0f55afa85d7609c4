// quern build SOURCE -o NAME.quern: a checkpoint into an engine file.
#include "builder/build.h"

#include <unistd.h>

#include <memory>
#include <string>

#include "base/clock.h"
#include "base/error.h"
#include "builder/receipt.h"
#include "cli/interrupt.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/verbs.h"

namespace quern {

extern const Verb kBuildVerb;

namespace {

constexpr double kBarSeconds = 0.1, kLineSeconds = 5;  // least time between two reports on a terminal, and elsewhere
constexpr size_t kBarCells = 30;

std::string shown_bytes(uint64_t bytes) {
  return bytes < 10'000'000 ? fmt::format("{:.1f} kB", static_cast<double>(bytes) / 1e3)
                            : fmt::format("{:.1f} MB", static_cast<double>(bytes) / 1e6);
}

// Progress on stderr: a bar that redraws itself on a terminal, a line now and then elsewhere.
class ProgressReport {
 public:
  ProgressReport() : is_terminal_(::isatty(STDERR_FILENO) == 1), last_(monotonic_seconds()) {}

  void show(const BuildProgress& progress) {
    const bool is_end = progress.tensor.empty();
    const double now = monotonic_seconds();
    if (!is_end && now - last_ < (is_terminal_ ? kBarSeconds : kLineSeconds)) return;
    last_ = now;
    const double share = progress.num_bytes == 0 ? 1 : static_cast<double>(progress.bytes_done) / static_cast<double>(progress.num_bytes);
    if (is_terminal_) {
      const auto cells = static_cast<size_t>(share * kBarCells);
      const std::string bar = std::string(cells, '#') + std::string(kBarCells - cells, '.');
      write_stderr(fmt::format("\r[{}] {:3.0f} % {:<16.16}", bar, 100 * share, progress.tensor));
      is_drawn_ = true;
      if (is_end) clear();
    } else if (!is_end) {
      write_stderr(
          fmt::format("{:.0f} %, {} of {} tensors, {}\n", 100 * share, progress.tensors_done, progress.num_tensors, progress.tensor));
    }
  }
  void clear() {
    if (is_drawn_) write_stderr("\r\x1b[K");
    is_drawn_ = false;
  }

 private:
  bool is_terminal_, is_drawn_ = false;
  double last_;
};

std::string policy_lines(const Json& policy) {
  std::string matrices;
  for (const auto& [format, count] : policy.at("matrices").items()) {
    matrices += fmt::format("{}{} {}", matrices.empty() ? "" : ", ", count.get<size_t>(), format);
  }
  std::string lines = fmt::format("policy    {}\nweights   embedding {}, head {}, matrices {}, vectors {}\n",
                                  policy.at("rule").get<std::string>(), policy.at("embedding").get<std::string>(),
                                  policy.at("head").get<std::string>(), matrices, policy.at("vectors").get<std::string>());
  if (!policy.contains("exceptions")) return lines;
  for (const auto& [what, count] : policy.at("exceptions").items()) lines += fmt::format("exception {} ({})\n", what, count.get<size_t>());
  return lines;
}

int build(BuildOptions options) {
  const Interrupt interrupt;
  ProgressReport report;
  options.progress = [&](const BuildProgress& progress) {
    interrupt.check();
    report.show(progress);
  };
  try {
    const BuildResult result = build_engine(options);
    for (const std::string& note : result.notes) write_stderr(fmt::format("note      {}\n", note));
    print("{}engine    {}: {}, {:.1f} M weights in {} ({:.2f} bits a weight), source {}, {:.1f} s\n", policy_lines(result.policy),
          escaped(options.output, 4000), shown_bytes(result.file_bytes), static_cast<double>(result.num_weights) / 1e6,
          shown_bytes(result.weight_bytes), result.bits_per_weight, shown_bytes(result.source_bytes), result.seconds);
    for (const std::string& line : receipt_lines(result.receipt)) print("quality   {}\n", line);
    return 0;
  } catch (...) {
    report.clear();
    throw;
  }
}

VerbWork declare(CLI::App& app) {
  const auto options = std::make_shared<BuildOptions>();
  add_text(app, "SOURCE", options->source, "SOURCE", "Hugging Face folder or GGUF file")->required();
  add_text(app, "-o,--output", options->output, "NAME.quern", "Engine file to write; an older one is replaced when the new one is complete")
      ->required();
  add_text(app, "--dtype", options->dtype, "auto|f32|f16|bf16|int8|int4", "Format of the weights; auto keeps the source's own values");
  add_number<size_t>(app, "--group-size", options->group_size, 0, 128,
                     "Weights that share a scale: 32, 64 or 128; 0: one scale a row for int8, 32 for int4");
  add_choice(
      app, "--method", options->method, {"rtn", "gptq", "awq", "auto"},
      "How the matrices of int4, or of int8 in groups of 32, are rounded: each value by itself (rtn); on calibration text, with error "
      "feedback (gptq), with scaled channels (awq), or with both where that measures best (auto)");
  app.add_flag("--asymmetric,!--symmetric", options->has_zeros,
               "int4 groups with a zero point of their own (a quarter bit more at groups of 32)");
  add_texts(
      app, "--keep", options->keep, "PATTERN=FORMAT",
      "Another format for the matrices of these names: blk.*.down=i8g32, head=f16, embed=source; may be repeated, the last one counts");
  add_number<double>(
      app, "--target-bpw", options->target_bits, 0, 16,
      "Bits of all weights on average: int4 matrices, embedding and head get 4.5, 5.5 or 8.5 by what each is measured to change; "
      "0: no budget");
  add_text(app, "--calibration", options->calibration, "FILE",
           "Text for --method gptq, awq and auto, and --target-bpw (default: the one that ships with Quern)");
  app.add_flag_function(
      "--receipt,!--no-receipt", [options](int64_t count) { options->receipt = count > 0; },
      "Measure perplexity, KL and first choices against the source on a fixed text and save them in the file (default: for models of at "
      "most 2000 M weights)");
  add_number<size_t>(app, "-t,--threads", options->num_threads, 0, 1024, "Threads; 0: every core that this process may use");
  app.add_flag("--gguf-qwen1-long-context", options->gguf_qwen1_long_context,
               "GGUF of first-generation Qwen only: turn on dynamic NTK and logn attention, which such a file does not mention");
  app.footer("The engine file is the same whatever the number of threads. Policies and chat formats: docs/build.md.");
  return [options] { return build(*options); };
}

}  // namespace

const Verb kBuildVerb = {"build", "Turn a checkpoint into an engine file", &declare};

}  // namespace quern
