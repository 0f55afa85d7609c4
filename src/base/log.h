// Log lines for people, on stderr. Never prompts, outputs or keys.
#pragma once
#include <fmt/core.h>

#include <string>
#include <utility>

namespace quern {

enum class LogLevel { debug, info, warning, error, off };

void set_log_level(LogLevel level);  // info at start
// Lines as JSON objects, {"time", "level", "message"}, for programs that collect logs. Before other threads log.
void set_log_json(bool is_json);
void log_line(LogLevel level, const std::string& line);

template <class... T>
void log_info(fmt::format_string<T...> format, T&&... args) {
  log_line(LogLevel::info, fmt::format(format, std::forward<T>(args)...));
}
template <class... T>
void log_warning(fmt::format_string<T...> format, T&&... args) {
  log_line(LogLevel::warning, fmt::format(format, std::forward<T>(args)...));
}

}  // namespace quern
