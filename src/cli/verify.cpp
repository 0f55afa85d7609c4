// quern verify FILE: every checksum of an engine file.
#include <memory>
#include <string>

#include "base/clock.h"
#include "base/error.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/verbs.h"
#include "files/engine_file.h"
#include "text/tokenizer.h"

namespace quern {

extern const Verb kVerifyVerb;

namespace {

struct VerifyOptions {
  std::string file;
  size_t num_threads = 0;
};

int verify(const VerifyOptions& options) {
  const double start = monotonic_seconds();
  const std::shared_ptr<EngineFile> file = EngineFile::open(options.file);
  file->verify(options.num_threads);
  Tokenizer::unpack(file->tokenizer_bytes(), escaped(options.file));
  const double seconds = monotonic_seconds() - start;
  print("{}: sound: {} tensors, {} bytes, {:.2f} s\n", escaped(options.file, 4000), file->tensors().size(), file->file().size(), seconds);
  return 0;
}

VerbWork declare(CLI::App& app) {
  const auto options = std::make_shared<VerifyOptions>();
  add_text(app, "FILE", options->file, "FILE", "Engine file")->required();
  add_number<size_t>(app, "-t,--threads", options->num_threads, 0, 1024, "Threads; 0: every core that this process may use");
  app.footer("Exit status 3 names the first tensor whose bytes differ from its checksum.");
  return [options] { return verify(*options); };
}

}  // namespace

const Verb kVerifyVerb = {"verify", "Check every checksum of an engine file", &declare};

}  // namespace quern
