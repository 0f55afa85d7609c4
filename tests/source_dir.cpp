#include "source_dir.h"

namespace quern {

// The one translation unit that knows the path: the objects of all others are the same in every checkout, and a compile cache finds them.
std::string source_dir() { return QUERN_SOURCE_DIR; }

}  // namespace quern
