#include "base/log.h"

#include <atomic>

#include "base/json.h"

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

std::atomic<bool> writes_json = false;

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

void set_log_json(bool is_json) {
  logger().set_pattern(is_json ? R"({"time":"%Y-%m-%dT%H:%M:%S.%eZ","level":"%l","message":%v})" : "%l: %v",
                       spdlog::pattern_time_type::utc);
  writes_json = is_json;
}

void log_line(LogLevel level, const std::string& line) {
  if (writes_json) {
    logger().log(to_spdlog(level), "{}", Json(line).dump(-1, ' ', true, Json::error_handler_t::replace));
  } else {
    logger().log(to_spdlog(level), "{}", line);
  }
}

}  // namespace quern
