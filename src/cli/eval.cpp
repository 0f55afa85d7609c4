// quern eval WHAT: measurements of a model's quality, one file each.
#include "base/error.h"
#include "cli/verbs.h"

namespace quern {

extern const Verb kEvalVerb;
extern const Verb kEvalPerplexityVerb;
extern const Verb kEvalDivergenceVerb;
extern const Verb kEvalSummarizeVerb;
extern const Verb kEvalAgreementVerb;
extern const Verb kEvalReportVerb;

namespace {

constexpr const Verb* kParts[] = {&kEvalSummarizeVerb, &kEvalPerplexityVerb, &kEvalDivergenceVerb, &kEvalAgreementVerb, &kEvalReportVerb};

VerbWork declare(CLI::App& app) {
  app.require_subcommand(1);
  std::vector<VerbWork> works;
  for (const Verb* part : kParts) {
    works.push_back(part->declare(*app.add_subcommand(part->name, part->summary)->footer("")));
  }
  return [&app, works] {
    for (size_t i = 0; i < works.size(); ++i) {
      if (app.got_subcommand(kParts[i]->name)) return works[i]();
    }
    raise(internal, "eval: no part was read");
  };
}

}  // namespace

const Verb kEvalVerb = {"eval", "Measure a model's quality: perplexity, divergence from a reference, agreement", &declare};

}  // namespace quern
