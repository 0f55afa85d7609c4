// What an engine file says about generating: sampling values, tokens that end an answer, stop strings, the chat format.
#pragma once
#include <string>
#include <vector>

#include "engine/sampling_params.h"
#include "files/engine_file.h"
#include "text/chat_format.h"
#include "text/tokenizer.h"

namespace quern {

struct GenerationDefaults {
  SamplingParams params;             // the model's own sampling values and stop strings
  std::vector<TokenId> end_ids;      // sorted; the file's eos ids and the chat format's turn ends
  const ChatFormat* chat = nullptr;  // null: a text model
};

// Throws invalid_input naming file and field: ids outside the vocabulary, values out of range.
GenerationDefaults read_generation_defaults(const EngineFile& file, const Tokenizer& tokenizer);

}  // namespace quern
