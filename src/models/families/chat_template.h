// The chat template that a checkpoint brings along, as text. Its meaning is text/chat_format.h's.
#pragma once
#include <optional>
#include <string>

#include "files/checkpoint.h"

namespace quern {

// chat_template.jinja, tokenizer_config.json's chat_template (the one named "default" of a list), or GGUF's tokenizer.chat_template.
std::optional<std::string> chat_template_text(const Checkpoint& checkpoint);

}  // namespace quern
