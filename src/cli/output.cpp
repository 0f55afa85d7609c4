#include "cli/output.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>

#include "base/error.h"

namespace quern {
namespace {

// 0, or the errno of the write that did not arrive.
int write_all(int descriptor, std::string_view text) noexcept {
  while (!text.empty()) {
    const ssize_t written = ::write(descriptor, text.data(), text.size());
    if (written >= 0) {
      text.remove_prefix(static_cast<size_t>(written));
    } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
      pollfd ready{descriptor, POLLOUT, 0};
      ::poll(&ready, 1, -1);
    } else if (errno != EINTR) {
      return errno;
    }
  }
  return 0;
}

}  // namespace

void write_stdout(std::string_view text) {
  if (const int error = write_all(STDOUT_FILENO, text)) raise(resource, "standard output: {}", std::strerror(error));
}

void write_stderr(std::string_view text) noexcept { write_all(STDERR_FILENO, text); }

void prepare_standard_streams() {
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGXFSZ, SIG_IGN);  // a write past the limit on a file's size then fails and is reported
  // A closed 0 reads as empty, a closed 1 refuses writes (and so is noticed), a closed 2 swallows them.
  constexpr int kModes[] = {O_RDONLY, O_RDONLY, O_RDWR};
  for (int descriptor = 0; descriptor <= 2; ++descriptor) {
    if (::fcntl(descriptor, F_GETFD) != -1 || errno != EBADF) continue;
    const int opened = ::open("/dev/null", kModes[descriptor]);  // takes the lowest free number, which is `descriptor`
    if (opened != -1 && opened != descriptor) ::close(opened);
  }
}

}  // namespace quern
