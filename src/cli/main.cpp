// quern VERB ...: reads the command line, does the verb's work, turns an Error into one line on stderr and the exit status.
#include <new>

#include "base/bus_error.h"
#include "base/error.h"
#include "cli/command_line.h"
#include "cli/interrupt.h"
#include "cli/output.h"
#include "cli/verbs.h"

namespace {

using namespace quern;

int run_verb(int argc, char** argv) {
  CLI::App app;
  const std::vector<VerbWork> works = declare_verbs(app);
  const std::string text = parse_command_line(app, {argv + std::min(argc, 1), argv + argc});
  if (!text.empty()) {
    write_stdout(text);
    return 0;
  }
  for (size_t i = 0; i < works.size(); ++i) {
    if (app.got_subcommand(verbs()[i]->name)) return works[i]();
  }
  raise(internal, "no verb was read");
}

int report(ErrorCode code, std::string_view message) {
  write_stderr("quern: " + escaped(message, 4000) + "\n");
  return static_cast<int>(code);
}

}  // namespace

int main(int argc, char** argv) {
  prepare_standard_streams();
  report_bus_errors();
  try {
    return run_verb(argc, argv);
  } catch (const Error& error) {
    return report(error.code(), error.message());
  } catch (const StoppedBySignal& stopped) {
    write_stderr(std::string("quern: ") + stopped.what() + "\n");
    return kStopped;
  } catch (const std::bad_alloc&) {
    return report(resource, "memory: the system has no more to give");
  } catch (const std::exception& error) {
    return report(internal, error.what());
  }
}
