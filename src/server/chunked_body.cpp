#include "server/chunked_body.h"

#include <algorithm>

namespace quern {
namespace {

constexpr size_t kMaxSizeLine = 256, kMaxTrailer = 8192;  // bytes
constexpr size_t kMaxDigits = 8;                          // of a chunk's size

int digit_of(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

}  // namespace

size_t ChunkedBody::put(std::string_view input, std::string& body) {
  size_t taken = 0;
  while (taken < input.size() && state_ < State::done) {
    if (state_ != State::data) {
      put_line_byte(input[taken++]);
      continue;
    }
    const size_t part = std::min(size_, input.size() - taken);
    body += input.substr(taken, part);
    taken += part;
    size_ -= part;
    if (size_ == 0) state_ = State::data_end;
  }
  return taken;
}

void ChunkedBody::end_of_size() {
  if (size_ == 0) {
    state_ = State::trailer;
    line_bytes_ = 0;
    return;
  }
  total_ += size_;
  state_ = total_ > max_bytes_ ? State::too_large : ++num_chunks_ > max_chunks_ ? State::too_many : State::data;
}

void ChunkedBody::put_line_byte(char c) {
  const auto move_on = [this](bool is_right, State next) { state_ = is_right ? next : State::malformed; };
  ++line_bytes_;
  switch (state_) {
    case State::size:
      if (const int digit = digit_of(c); digit >= 0) {
        size_ = size_ * 16 + static_cast<size_t>(digit);
        if (++num_digits_ > kMaxDigits) state_ = State::malformed;
      } else if (num_digits_ == 0) {
        state_ = State::malformed;
      } else if (c == ';') {
        state_ = State::extension;
      } else {
        move_on(c == '\r', State::size_end);
      }
      return;
    case State::extension:
      if (c == '\r') {
        state_ = State::size_end;
      } else if (static_cast<unsigned char>(c) < 0x20 || line_bytes_ > kMaxSizeLine) {
        state_ = State::malformed;
      }
      return;
    case State::size_end: return c == '\n' ? end_of_size() : move_on(false, State::size_end);
    case State::data_end: return move_on(c == '\r', State::data_end_lf);
    case State::data_end_lf: num_digits_ = line_bytes_ = 0; return move_on(c == '\n', State::size);
    case State::trailer:
      if (c == '\r') {
        state_ = State::last_lf;
        return;
      }
      [[fallthrough]];
    case State::trailer_line:
      if (c == '\r') {
        state_ = State::trailer_lf;
      } else {
        const bool is_plain = static_cast<unsigned char>(c) >= 0x20 || c == '\t';
        move_on(is_plain && line_bytes_ <= kMaxTrailer, State::trailer_line);
      }
      return;
    case State::trailer_lf: return move_on(c == '\n', State::trailer);
    case State::last_lf: return move_on(c == '\n', State::done);
    default: return;
  }
}

}  // namespace quern
