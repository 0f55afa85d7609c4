// What an engine file or a checkpoint is, as JSON for programs; `quern info` prints it for people. Stateless.
#pragma once
#include "base/json.h"
#include "builder/source_model.h"
#include "files/engine_file.h"

namespace quern {

// Keys of both: path, kind ("engine", "gguf", "hugging_face"), file_bytes, family, num_parameters, weight_bytes, bits_per_weight,
// formats {name: {tensors, bytes}}, model (the config), tokenizer {origin, num_tokens}, chat, generation; `tensors` (name, format, shape,
// bytes) when asked for.
// An engine file's own: format_version, build, receipt; its tensors also have offset and xxh3.
Json engine_info(const EngineFile& file, bool with_tensors);
// A checkpoint's own: notes, engine_bytes {dtype: bytes of the weights that a build would write}; its tensors also have source and
// source_format.
Json source_info(const SourceModel& model, bool with_tensors);

}  // namespace quern
