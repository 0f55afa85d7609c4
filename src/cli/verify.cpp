// quern verify FILE: every checksum of an engine file, and with --quality what its receipt says of its quality.
#include <memory>
#include <string>

#include "base/clock.h"
#include "base/error.h"
#include "cli/model_options.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/verbs.h"
#include "eval/quality_check.h"
#include "files/engine_file.h"
#include "text/tokenizer.h"

namespace quern {

extern const Verb kVerifyVerb;

namespace {

struct VerifyOptions {
  std::string file, source;
  bool quality = false;
  ModelOptions model;  // device, threads and kernels alone
};

void verify_quality(const VerifyOptions& options, const std::shared_ptr<EngineFile>& file) {
  const std::string where = escaped(options.file, 4000);
  const Json& receipt = file->metadata().receipt;
  const std::optional<Quality> saved = measured_quality(receipt);
  if (!saved) {
    const std::vector<std::string> lines = receipt_lines(receipt);
    raise(invalid_input, "{}: receipt: want figures to compare with, found: {}", where, lines.front());
  }
  if (receipt_text_xxh3(receipt) != quality_text_xxh3()) {
    raise(incompatible, "{}: receipt: measured on another text than this version's: build the engine again", where);
  }
  const double start = monotonic_seconds();
  const bool has_source = !options.source.empty();
  const Quality found = has_source ? measure_against_source(read_source_model(options.source), *file, options.model.num_threads.value_or(0))
                                   : measure_again(file, *open_backend(options.model), *saved);
  const std::string divergence = has_source ? fmt::format(", KL mean {:.3g} ({:.3g})", found.kl_mean, saved->kl_mean) : "";
  print("quality     perplexity {:.5g} (receipt {:.5g}), same first choice {:.2f} % ({:.2f} %){}, {:.2f} s\n", found.perplexity,
        saved->perplexity, 100 * found.top1_agreement, 100 * saved->top1_agreement, divergence, monotonic_seconds() - start);
  const std::string difference = quality_difference(*saved, found, has_source);
  if (!difference.empty()) raise(invalid_input, "{}: receipt: {}", where, difference);
}

int verify(const VerifyOptions& options) {
  if (!options.source.empty() && !options.quality) raise(usage, "--source: want --quality with it");
  const double start = monotonic_seconds();
  const std::shared_ptr<EngineFile> file = EngineFile::open(options.file);
  file->verify(options.model.num_threads.value_or(0));
  Tokenizer::unpack(file->tokenizer_bytes(), escaped(options.file));
  const double seconds = monotonic_seconds() - start;
  print("{}: sound: {} tensors, {} bytes, {:.2f} s\n", escaped(options.file, 4000), file->tensors().size(), file->file().size(), seconds);
  if (options.quality) verify_quality(options, file);
  return 0;
}

VerbWork declare(CLI::App& app) {
  const auto options = std::make_shared<VerifyOptions>();
  add_text(app, "FILE", options->file, "FILE", "Engine file")->required();
  app.add_flag("--quality", options->quality,
               "Measure perplexity and first choices again, and compare them with the quality receipt in the file");
  add_text(app, "--source", options->source, "SOURCE",
           "With --quality: what the engine was built from; KL is measured again too, on the CPU");
  add_device_options(app, options->model);
  app.footer(
      "Exit status 3 names the first tensor whose bytes differ from its checksum, or the figure that differs from the receipt's: a "
      "perplexity "
      "by more than 0.5 %, first choices by more than one in a hundred, KL by more than a tenth.");
  return [options] { return verify(*options); };
}

}  // namespace

const Verb kVerifyVerb = {"verify", "Check every checksum of an engine file, and its quality receipt", &declare};

}  // namespace quern
