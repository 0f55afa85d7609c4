// The verbs of the command line: one file a verb, one line each in verbs.cpp.
#pragma once
#include <CLI/CLI.hpp>
#include <functional>
#include <span>
#include <vector>

namespace quern {

// The work of a verb, called once the command line is read: returns the exit status (0 = done, kStopped) or throws Error.
using VerbWork = std::function<int()>;

inline constexpr int kStopped = 75;  // stopped by a signal before all work was done

struct Verb {
  const char* name;
  const char* summary;  // one line without a full stop, for `quern --help`
  // Declares the verb's options on `app` (cli/options.h) and returns its work, which owns what the options write to.
  VerbWork (*declare)(CLI::App& app);
  bool hidden = false;  // not listed: for tools and tests
};

std::span<const Verb* const> verbs();

// Declares one subcommand a verb; the result holds their works in the order of verbs(). main and the documentation are made from it.
std::vector<VerbWork> declare_verbs(CLI::App& app);

}  // namespace quern
