// The one model of a server and its names. Made when the model is loaded; constant from then on, any thread.
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "engine/engine.h"
#include "server/call_text.h"
#include "server/constraint.h"

namespace quern {

struct ServedModel {
  Engine* engine;
  std::vector<std::string> names;                     // at least one; the first is the one that replies bear
  std::string fingerprint;                            // "quern-<version>-<hash of the engine file's description>"
  int64_t created = 0;                                // unix time of the start
  std::optional<CallDialect> dialect = {};            // of calls of tools; absent: that of the chat format
  std::shared_ptr<ConstraintCache> constraints = {};  // made by the server

  const std::string& name() const { return names.front(); }
  const Tokenizer& tokenizer() const { return engine->tokenizer(); }
  const ChatFormat* chat() const { return engine->defaults().chat; }
  CallDialect call_dialect() const {
    return dialect ? *dialect : chat() != nullptr && chat()->xml_calls ? CallDialect::xml : CallDialect::json;
  }
  size_t context() const { return engine->options().max_model_len; }
};

}  // namespace quern
