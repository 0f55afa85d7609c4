// What an Answer holds: the engine's session, and how it ended once that is known.
#pragma once
#include <optional>

#include "api/public.h"
#include "engine/session.h"

namespace quern::v1 {

struct Answer::State {
  explicit State(Session open) : session(std::move(open)) {}

  // Takes what has come; keeps the end.
  SessionOutput read();

  Session session;
  std::optional<Result> result;
};

}  // namespace quern::v1
