#include "models/families/chat_template.h"

#include <filesystem>

namespace quern {
namespace {

constexpr uint64_t kMaxTemplateBytes = uint64_t{1} << 20;

const Json* field(const Json& object, const char* name) {
  if (!object.is_object()) return nullptr;
  const auto found = object.find(name);
  return found == object.end() ? nullptr : &*found;
}

}  // namespace

std::optional<std::string> chat_template_text(const Checkpoint& checkpoint) {
  if (checkpoint.kind() == Checkpoint::Kind::gguf) {
    const Json* text = field(checkpoint.config(), "tokenizer.chat_template");
    return text != nullptr && text->is_string() ? std::optional(text->get<std::string>()) : std::nullopt;
  }
  const std::filesystem::path path = std::filesystem::path(checkpoint.path()) / "chat_template.jinja";
  std::error_code error;
  if (std::filesystem::is_regular_file(path, error)) return read_text_file(path.string(), kMaxTemplateBytes);
  const Json* text = field(checkpoint.tokenizer_config(), "chat_template");
  if (text == nullptr) return std::nullopt;
  if (text->is_string()) return text->get<std::string>();
  if (!text->is_array()) return std::nullopt;
  for (const Json& entry : *text) {  // [{"name": "default", "template": "..."}, ...]
    const Json *name = field(entry, "name"), *body = field(entry, "template");
    if (name != nullptr && body != nullptr && *name == "default" && body->is_string()) return body->get<std::string>();
  }
  return std::nullopt;
}

}  // namespace quern
