#include "api/public.h"
#include "base/version.h"

namespace quern::v1 {

Error::Error(ErrorCode code, std::string message) : code_(code), message_(std::move(message)) {}
Error::~Error() = default;

const char* version() { return kVersion; }

}  // namespace quern::v1
