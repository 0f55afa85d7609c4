// GPT-2's alphabet: each byte as one printable character, the form of byte-level tokens in vocabulary files. Stateless.
#pragma once
#include <optional>
#include <string>
#include <string_view>

namespace quern {

// The bytes that `text` stands for; nothing when it holds a character outside the alphabet.
std::optional<std::string> bytes_of_alphabet(std::string_view text);

}  // namespace quern
