#include "base/log.h"

#define SPDLOG_FMT_EXTERNAL  // the same fmt as everywhere
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

namespace quern {
namespace {

spdlog::level::level_enum to_spdlog(LogLevel level) {
  switch (level) {
    case LogLevel::debug: return spdlog::level::debug;
    case LogLevel::info: return spdlog::level::info;
    case LogLevel::warning: return spdlog::level::warn;
    case LogLevel::error: return spdlog::level::err;
    case LogLevel::off: break;
  }
  return spdlog::level::off;
}

spdlog::logger& logger() {
  static const auto instance = [] {
    auto made = spdlog::stderr_logger_mt("quern");
    made->set_pattern("%l: %v");
    return made;
  }();
  return *instance;
}

}  // namespace

void set_log_level(LogLevel level) { logger().set_level(to_spdlog(level)); }
void log_line(LogLevel level, const std::string& line) { logger().log(to_spdlog(level), "{}", line); }

}  // namespace quern
