// The text of a Jinja chat template in a form that is the same for templates that render the same: white space that Hugging Face's
// settings (trim_blocks, lstrip_blocks) remove, comments, quotes and spaces inside tags do not count. Nothing is ever executed.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>

namespace quern {

// Tags as their tokens, texts between them as they would be printed; string literals decoded. "" when a tag or string has no end.
std::string canonical_template(std::string_view jinja);

// FNV-1a, 64 bits.
uint64_t template_hash(std::string_view canonical);

}  // namespace quern
