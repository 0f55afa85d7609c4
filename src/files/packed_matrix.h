// A weight of a quantized checkpoint: its codes, scales and zero points lie in several tensors, often by columns. Seen here as rows of the
// narrowest format that holds every value to the last bit. Points into the checkpoint's mappings; any thread may read it.
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "formats/format.h"

namespace quern {

// Unsigned numbers of 4 or 8 bits in little-endian words, over a matrix of rows and columns. Neighbours in a word are rows or columns.
struct CodeGrid {
  const std::byte* data = nullptr;
  unsigned bits = 8, word_bits = 8;        // a word is 8 or 32 bits
  uint64_t row_step = 0, column_step = 0;  // in words, from one word to the next along rows and columns
  bool packs_rows = false;                 // a word holds neighbouring rows; otherwise columns
  const uint8_t* places = nullptr;         // place in the word of each neighbour; null: in order, lowest bits first
  unsigned flip = 0;                       // exclusive or: 2^(bits - 1) makes unsigned what is stored as a signed number

  unsigned at(uint64_t row, uint64_t column) const;
};

// Plain numbers over a matrix of rows and groups of columns.
struct ScaleGrid {
  const std::byte* data = nullptr;
  Format format = Format::f32;            // a plain one
  uint64_t row_step = 0, group_step = 0;  // in numbers
  uint64_t rows_each = 1;                 // rows that share a scale

  float at(uint64_t row, uint64_t group) const;
};

// A part of the checkpoint that a matrix is made from.
struct PackedPart {
  std::span<const std::byte> bytes;
  size_t file;      // index into Checkpoint::files
  uint64_t offset;  // in that file
};

class PackedMatrix {
 public:
  enum class Values : uint8_t {
    integers,  // scale * (code - zero)
    float8,    // scale * e4m3(code)
  };
  struct Source {
    Values values = Values::integers;
    uint64_t rows = 0, columns = 0;
    CodeGrid codes;
    ScaleGrid scales;
    CodeGrid zeros;  // over rows and groups; without data: `zero` everywhere
    unsigned zero = 0;
    unsigned zero_shift = 0;       // added to a stored zero point, modulo 2^bits
    std::vector<uint32_t> groups;  // of each column
    std::vector<PackedPart> parts;
  };

  // Chooses the format by looking at every scale and zero point. `name` opens messages; throws invalid_input for a scale that is not
  // finite.
  PackedMatrix(Source source, const std::string& name);

  uint64_t rows() const { return source_.rows; }
  uint64_t columns() const { return source_.columns; }
  Format format() const { return format_; }
  // Why the format is f32; empty otherwise.
  const std::string& wider_because() const { return wider_because_; }
  std::span<const PackedPart> parts() const { return source_.parts; }

  // Rows [first, first + count) in format().
  void write_rows(uint64_t first, uint64_t count, std::byte* out) const;

 private:
  unsigned zero_at(uint64_t row, uint32_t group) const;
  float value_at(uint64_t row, uint64_t column) const;
  // The largest of `sizes` whose aligned blocks of columns are of one group each; 0 when none is.
  size_t block_of(std::span<const size_t> sizes) const;
  void choose(const std::string& name);
  void choose_integers(bool fit_f16);
  void write_row(uint64_t row, std::byte* out) const;

  Source source_;
  uint32_t num_groups_ = 0;
  Format format_ = Format::f32;
  size_t block_ = 0;  // columns of a block of the format
  std::string wider_because_;
};

}  // namespace quern
