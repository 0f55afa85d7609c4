// Every family of models: a line here and a file beside it.
#pragma once
#include "models/family.h"

namespace quern {

extern const ModelFamily kQwen1, kQwen2, kQwen3, kLlama;

inline constexpr const ModelFamily* kModelFamilies[] = {&kQwen1, &kQwen2, &kQwen3, &kLlama};

}  // namespace quern
