#include "cli/prompt_file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/log.h"
#include "cli/output.h"
#include "engine/request_json.h"

namespace quern {
namespace {

constexpr const char* kPromptKinds[] = {"prompt", "prompt_ids", "messages"};

// Calls visit(number, line) for every line, without its end. A last line without an end counts.
template <class Visit>
void each_line(std::string_view text, Visit&& visit) {
  for (size_t number = 1, begin = 0; begin < text.size(); ++number) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    std::string_view line = text.substr(begin, end - begin);
    if (line.ends_with('\r')) line.remove_suffix(1);
    visit(number, line);
    begin = end + 1;
  }
}

std::string id_text(const JsonFields& fields) {
  const Json& object = fields.raw();
  if (!fields.has("id") || !(object.at("id").is_string() || object.at("id").is_number_integer())) {
    raise(invalid_input, "{}: id: want a text or an integer, found {}", fields.where(),
          fields.has("id") ? object.at("id").type_name() : "nothing");
  }
  return object.at("id").dump();
}

// What can be told without a model.
void check_prompt(const JsonFields& fields) {
  const auto kinds = std::ranges::count_if(kPromptKinds, [&](const char* kind) { return fields.has(kind); });
  if (kinds != 1) raise(invalid_input, "{}: want one of prompt, prompt_ids and messages, found {}", fields.where(), kinds);
  if (fields.has("prompt") && fields.text({"prompt"}).empty())
    raise(invalid_input, "{}: prompt: want text, found an empty one", fields.where());
  if (fields.has("prompt_ids")) read_token_ids(fields.raw().at("prompt_ids"), fields.where() + ": prompt_ids");
  if (fields.has("messages")) read_messages(fields.raw().at("messages"), fields.where() + ": messages");
  SamplingParams params;
  read_sampling_fields(fields, params);
}

[[noreturn]] void raise_errno(const std::string& path) { raise(resource, "{}: {}", escaped(path), std::strerror(errno)); }

bool is_same_file(const std::string& a, const std::string& b) {
  struct stat first = {}, second = {};
  return ::stat(a.c_str(), &first) == 0 && ::stat(b.c_str(), &second) == 0 && first.st_dev == second.st_dev &&
         first.st_ino == second.st_ino;
}

}  // namespace

PromptFile::PromptFile(const std::string& path) : file_(path) {
  std::set<std::string> ids, unread;
  each_line(file_.text(), [&](size_t number, std::string_view text) {
    if (text.find_first_not_of(" \t") == std::string_view::npos) return;
    const std::string line_where = fmt::format("{}:{}", escaped(path), number);
    const Json object = parse_json(text, line_where);
    const JsonFields fields(object, line_where);
    Line line{number, text, id_text(fields)};
    if (!ids.insert(line.id).second) raise(invalid_input, "{}: id: {} was there before", line_where, escaped(line.id));
    check_prompt(fields);
    for (const auto& [name, value] : object.items()) {
      const bool is_known = name == "id" || is_sampling_field(name) || std::ranges::find(kPromptKinds, name) != std::end(kPromptKinds);
      if (!is_known && unread.size() < 20) unread.insert(escaped(name, 40));
    }
    lines_.push_back(std::move(line));
  });
  if (lines_.empty()) raise(invalid_input, "{}: want prompts, found none", escaped(path));
  if (!unread.empty()) log_info("{}: fields that are not read: {}", escaped(path), fmt::join(unread, ", "));
}

std::string PromptFile::where(size_t i) const { return fmt::format("{}:{}", escaped(path()), lines_[i].number); }
Json PromptFile::object(size_t i) const { return parse_json(lines_[i].text, where(i)); }

ResultFile::ResultFile(const std::string& path, const PromptFile& prompts) : path_(path) {
  if (path == "-") return;
  if (is_same_file(path, prompts.path())) raise(usage, "--out: want another file than the prompts, found {}", escaped(path));
  descriptor_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | O_NONBLOCK, 0666);
  if (descriptor_ == -1) raise_errno(path);
  struct stat status = {};
  if (::fstat(descriptor_, &status) != 0) raise_errno(path);
  if (!S_ISREG(status.st_mode)) raise(invalid_input, "--out: want a regular file, found {}", escaped(path));
  if (::flock(descriptor_, LOCK_EX | LOCK_NB) != 0) raise(resource, "{}: another run writes it", escaped(path));
  if (status.st_size > 0) read_finished(prompts);
}

ResultFile::~ResultFile() {
  if (descriptor_ != -1) ::close(descriptor_);
}

void ResultFile::read_finished(const PromptFile& prompts) {
  const MappedFile file(path_);
  const size_t whole = file.text().rfind('\n') + 1;  // 0 when there is no whole line
  std::set<std::string> known;
  for (size_t i = 0; i < prompts.size(); ++i) known.insert(prompts.id(i));
  each_line(file.text().substr(0, whole), [&](size_t number, std::string_view text) {
    const std::string where = fmt::format("{}:{}", escaped(path_), number);
    const Json object = parse_json(text, where);
    const std::string id = id_text(JsonFields(object, where));
    if (!known.contains(id)) {
      raise(invalid_input, "{}: id: want an id of {}, found {} (results of other prompts need another --out)", where,
            escaped(prompts.path()), escaped(id));
    }
    finished_.insert(id);
  });
  if (whole < file.size()) {
    if (!file.text().substr(whole).starts_with('{')) raise(invalid_input, "{}: want results, one JSON object a line", escaped(path_));
    if (::ftruncate(descriptor_, static_cast<off_t>(whole)) != 0) raise_errno(path_);
  }
}

void ResultFile::append(const OrderedJson& line) {
  const std::string text = line.dump(-1, ' ', false, OrderedJson::error_handler_t::replace) + "\n";
  if (descriptor_ == -1) return write_stdout(text);
  std::string_view rest = text;
  while (!rest.empty()) {
    const ssize_t written = ::write(descriptor_, rest.data(), rest.size());
    if (written == -1 && errno == EINTR) continue;
    if (written == -1) raise_errno(path_);
    rest.remove_prefix(static_cast<size_t>(written));
  }
}

void ResultFile::close() {
  if (descriptor_ == -1) return;
  const int descriptor = std::exchange(descriptor_, -1);
  const bool is_synced = ::fsync(descriptor) == 0;
  const int error = errno;
  if (::close(descriptor) != 0) raise_errno(path_);
  if (!is_synced) raise(resource, "{}: {}", escaped(path_), std::strerror(error));
}

}  // namespace quern
