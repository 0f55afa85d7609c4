#include "text/unicode.h"

#include <algorithm>
#include <vector>

#include "base/utf8.h"

namespace quern {
namespace {

constexpr char32_t kLeadBase = 0x1100, kVowelBase = 0x1161, kTrailBase = 0x11a7, kSyllableBase = 0xac00;
constexpr uint32_t kNumVowels = 21, kNumTrails = 28, kNumLeads = 19, kNumSyllables = kNumLeads * kNumVowels * kNumTrails;

// A character and its combining class, in one word: sorting by the upper byte is canonical ordering.
using Mark = uint32_t;
Mark mark_of(char32_t c) { return c | uint32_t{kCombiningBlocks[size_t{kCombiningIndex[c >> 7]} * 128 + (c & 127)]} << 24; }
uint32_t class_of(Mark mark) { return mark >> 24; }
char32_t code_point_of(Mark mark) { return mark & 0xffffff; }

struct Decomposition {
  char32_t code_point, first, second;
};
Decomposition decomposition(size_t i) { return {kDecompositions[i * 3], kDecompositions[i * 3 + 1], kDecompositions[i * 3 + 2]}; }

// Appends the full canonical decomposition of `c`.
void decompose(char32_t c, std::vector<Mark>& out) {
  if (const uint32_t syllable = c - kSyllableBase; syllable < kNumSyllables) {
    out.push_back(mark_of(kLeadBase + syllable / (kNumVowels * kNumTrails)));
    out.push_back(mark_of(kVowelBase + syllable / kNumTrails % kNumVowels));
    if (const uint32_t trail = syllable % kNumTrails; trail != 0) out.push_back(mark_of(kTrailBase + trail));
    return;
  }
  char32_t open[8] = {c};  // parts that may decompose further, the next one last; canonical decompositions have at most 4 characters
  size_t num_open = 1;
  while (num_open > 0) {
    const char32_t part = open[--num_open];
    size_t low = 0, high = kNumDecompositions;
    while (low < high) {
      const size_t middle = (low + high) / 2;
      if (decomposition(middle).code_point < part) {
        low = middle + 1;
      } else {
        high = middle;
      }
    }
    if (low == kNumDecompositions || decomposition(low).code_point != part) {
      out.push_back(mark_of(part));
      continue;
    }
    const Decomposition parts = decomposition(low);
    if (parts.second != 0) open[num_open++] = parts.second;
    open[num_open++] = parts.first;
  }
}

// The primary composite of two characters, or 0.
char32_t composite(char32_t first, char32_t second) {
  const uint32_t lead = first - kLeadBase, vowel = second - kVowelBase;
  if (lead < kNumLeads && vowel < kNumVowels) return kSyllableBase + (lead * kNumVowels + vowel) * kNumTrails;
  const uint32_t syllable = first - kSyllableBase, trail = second - kTrailBase;
  if (syllable < kNumSyllables && syllable % kNumTrails == 0 && trail != 0 && trail < kNumTrails) return first + trail;
  size_t low = 0, high = kNumCompositions;
  while (low < high) {
    const size_t middle = (low + high) / 2;
    const Decomposition d = decomposition(kCompositions[middle]);
    if (d.first == first && d.second == second) return d.code_point;
    if (d.first < first || (d.first == first && d.second < second)) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return 0;
}

// Canonical ordering: each run of marks sorted by class, equal classes in their order.
void reorder(std::vector<Mark>& marks) {
  for (size_t i = 0; i < marks.size();) {
    if (class_of(marks[i]) == 0) {
      ++i;
      continue;
    }
    size_t end = i + 1;
    while (end < marks.size() && class_of(marks[end]) != 0) ++end;
    std::stable_sort(marks.begin() + static_cast<ptrdiff_t>(i), marks.begin() + static_cast<ptrdiff_t>(end),
                     [](Mark a, Mark b) { return class_of(a) < class_of(b); });
    i = end;
  }
}

// Canonical composition in place.
void compose(std::vector<Mark>& marks) {
  constexpr size_t kNone = static_cast<size_t>(-1);
  size_t starter = kNone, size = 0;
  for (const Mark mark : marks) {
    // A mark reaches its starter when nothing between them has its class or a higher one.
    const bool reaches = starter != kNone && (starter + 1 == size || class_of(marks[size - 1]) < class_of(mark));
    if (reaches) {
      if (const char32_t c = composite(code_point_of(marks[starter]), code_point_of(mark)); c != 0) {
        marks[starter] = mark_of(c);
        continue;
      }
    }
    if (class_of(mark) == 0) starter = size;
    marks[size++] = mark;
  }
  marks.resize(size);
}

// First character at or after `at` that needs a closer look, and the last one before it that does not (or the same place).
struct Doubt {
  size_t at, starter;
};
Doubt next_doubt(std::string_view text, size_t at) {
  size_t starter = at;
  while (at < text.size()) {
    const auto lead = static_cast<unsigned char>(text[at]);
    if (lead < 0xcc) {  // below U+0300
      starter = at;
      at += lead < 0x80 ? 1 : 2;
      continue;
    }
    const Character c = character_at(text, at);
    if ((character_bits(c.code_point) & kNfcCheckBit) != 0) return {at, starter};
    starter = at;
    at += c.length;
  }
  return {at, at};
}

}  // namespace

bool is_certainly_nfc(std::string_view text) { return next_doubt(text, 0).at == text.size(); }

std::string nfc(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  std::vector<Mark> marks;
  size_t done = 0;
  for (;;) {
    const Doubt doubt = next_doubt(text, done);
    out.append(text.substr(done, doubt.starter - done));
    if (doubt.at == text.size()) return out;
    marks.clear();
    size_t at = doubt.starter;
    bool past_doubt = false;
    while (at < text.size()) {  // up to the next character that nothing before it can change
      const Character c = character_at(text, at);
      if (past_doubt && (character_bits(c.code_point) & kNfcCheckBit) == 0) break;
      past_doubt = past_doubt || at >= doubt.at;
      decompose(c.code_point, marks);
      at += c.length;
    }
    reorder(marks);
    compose(marks);
    for (const Mark mark : marks) utf8_append(out, code_point_of(mark));
    done = at;
  }
}

}  // namespace quern
