// What a checkpoint says about talking to it: the chat format, sampling defaults and stop ids that go into its engine file. Stateless.
#pragma once
#include <string>
#include <vector>

#include "base/json.h"
#include "files/checkpoint.h"
#include "models/family.h"
#include "text/tokenizer.h"

namespace quern {

struct Prompting {
  Json chat;        // metadata.chat: {"format": name or null}
  Json generation;  // metadata.generation
  std::vector<std::string> notes;
};

// The rules are in docs/build.md ("Chat format and stop ids"). Throws invalid_input naming file and field for values out of range and
// for ids that the vocabulary does not have.
Prompting read_prompting(const ModelFamily& family, const Checkpoint& checkpoint, const Tokenizer& tokenizer);

}  // namespace quern
