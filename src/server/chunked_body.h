// The chunks of a body, taken apart byte by byte: sizes are plain hexadecimal, every line ends in CR LF, and all of it has a bound.
// Owned by HttpParser; one thread.
#pragma once
#include <cstddef>
#include <string>
#include <string_view>

namespace quern {

class ChunkedBody {
 public:
  ChunkedBody(size_t max_chunks, size_t max_bytes) : max_chunks_(max_chunks), max_bytes_(max_bytes) {}

  enum class State {
    size,
    extension,
    size_end,
    data,
    data_end,
    data_end_lf,
    trailer,
    trailer_lf,
    trailer_line,
    last_lf,
    done,
    malformed,
    too_many,
    too_large
  };

  // Takes what belongs to the body off `input` and appends its data to `body`; returns how much it took.
  size_t put(std::string_view input, std::string& body);
  State state() const { return state_; }
  bool failed() const { return state_ > State::done; }

 private:
  void put_line_byte(char c);
  void end_of_size();

  size_t max_chunks_, max_bytes_;
  State state_ = State::size;
  size_t num_chunks_ = 0, num_digits_ = 0, size_ = 0, line_bytes_ = 0, total_ = 0;
};

}  // namespace quern
