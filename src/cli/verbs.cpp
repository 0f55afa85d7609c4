#include "cli/verbs.h"

#include "base/version.h"

namespace quern {

extern const Verb kBuildVerb;
extern const Verb kInfoVerb;
extern const Verb kVerifyVerb;
extern const Verb kPlanVerb;
extern const Verb kRunVerb;
extern const Verb kChatVerb;
extern const Verb kServeVerb;
extern const Verb kTokenizeVerb;
extern const Verb kBenchVerb;
extern const Verb kEvalVerb;
extern const Verb kDocsVerb;

namespace {

// In the order of `quern --help`.
constexpr const Verb* kVerbs[] = {
    &kBuildVerb, &kInfoVerb,     &kVerifyVerb, &kPlanVerb, &kRunVerb,  &kChatVerb,
    &kServeVerb, &kTokenizeVerb, &kBenchVerb,  &kEvalVerb, &kDocsVerb,
};

}  // namespace

std::span<const Verb* const> verbs() { return kVerbs; }

std::vector<VerbWork> declare_verbs(CLI::App& app) {
  app.name("quern");
  app.description("Quern turns a Qwen checkpoint into one engine file and runs it fast: on any CPU, and on NVIDIA GPUs.");
  app.set_version_flag("--version", std::string("quern ") + kVersion, "Print the version and exit");
  app.set_help_flag("-h,--help", "Print this help and exit");
  app.require_subcommand(1);
  app.footer(
      "`quern VERB --help` shows the options of a verb.\n"
      "Exit status: 0 done, 2 usage, 3 broken input, 4 resources, 5 not supported here, 70 internal error, 75 stopped by a signal.");
  std::vector<VerbWork> works;
  for (const Verb* verb : verbs()) {
    CLI::App* sub = app.add_subcommand(verb->name, verb->summary)->footer("");
    if (verb->hidden) sub->group("");
    works.push_back(verb->declare(*sub));
  }
  return works;
}

}  // namespace quern
