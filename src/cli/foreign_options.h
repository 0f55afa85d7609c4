// What users of vllm serve and llama-server type: flags that mean nothing here or are always so are taken with a warning, and of those that
// would mean something the refusal says what to use instead. Stateless.
#pragma once
#include <CLI/CLI.hpp>
#include <string>
#include <string_view>

namespace quern {

// `text` takes the values, and outlives the parse.
void accept_foreign_flags(CLI::App& app, std::string& text);
// What to use instead of a flag that is refused; "" when nothing is known of it.
std::string_view foreign_flag_hint(std::string_view flag);

}  // namespace quern
