#include "files/safetensors_header.h"

#include <algorithm>
#include <cstring>

#include "base/checked.h"
#include "base/error.h"
#include "files/json_scanner.h"
#include "files/xxh3.h"

namespace quern {
namespace {

constexpr SafetensorsDtype kDtypes[] = {
    {"F32", 32, Format::f32},
    {"F16", 16, Format::f16},
    {"BF16", 16, Format::bf16},
    {"BOOL", 8, {}},
    {"U8", 8, {}},
    {"I8", 8, {}},
    {"U16", 16, {}},
    {"I16", 16, {}},
    {"U32", 32, {}},
    {"I32", 32, {}},
    {"U64", 64, {}},
    {"I64", 64, {}},
    {"F64", 64, {}},
    {"C64", 64, {}},
    {"F8_E4M3", 8, {}},
    {"F8_E5M2", 8, {}},
    {"F8_E8M0", 8, {}},
    {"F8_E4M3FNUZ", 8, {}},
    {"F8_E5M2FNUZ", 8, {}},
    {"F6_E2M3", 6, {}},
    {"F6_E3M2", 6, {}},
    {"F4", 4, {}},
};

std::string dtype_list() {
  std::string list;
  for (const SafetensorsDtype& dtype : kDtypes) list += fmt::format("{}{}", list.empty() ? "" : ", ", dtype.name);
  return list;
}

uint64_t read_header_length(const MappedFile& file, const std::string& where) {
  if (file.size() == 0) raise(invalid_input, "{}: file is empty", where);
  if (file.size() < 8) raise(invalid_input, "{}: want the 8 bytes of the header length, file has {} bytes", where, file.size());
  uint64_t length;
  std::memcpy(&length, file.bytes().data(), sizeof(length));
  if (length > file.size() - 8 || length > kMaxSafetensorsHeaderBytes) {
    raise(invalid_input, "{}: header length at offset 0: want at most {} (the file has {} bytes, the limit is {}), found {}", where,
          std::min(file.size() - 8, kMaxSafetensorsHeaderBytes), file.size(), kMaxSafetensorsHeaderBytes, length);
  }
  if (length < 2) raise(invalid_input, "{}: header length at offset 0: want at least 2, found {}", where, length);
  if (const auto first = static_cast<unsigned char>(file.text()[8]); first != '{') {
    raise(invalid_input, "{}: header at offset 8: want '{{', found byte 0x{:02x}", where, first);
  }
  return length;
}

class HeaderParser {
 public:
  HeaderParser(const MappedFile& file, std::string where, uint64_t length, bool keep_metadata)
      : where_(where), keep_metadata_(keep_metadata), json_(file.text().substr(8, length), std::move(where), 8) {
    header_.data_offset = 8 + length;
    data_bytes_ = file.size() - header_.data_offset;
  }

  SafetensorsHeader parse() {
    json_.expect('{');
    if (!json_.accept('}')) {
      do {
        const std::string_view name = kept(json_.string(scratch_, kMaxTensorNameBytes, "tensor name"));
        json_.expect(':');
        json_.about(name);
        name == "__metadata__" ? read_metadata() : read_entry(name);
        json_.about("");
      } while (json_.another('}'));
    }
    json_.end();
    check_names();
    check_ranges();
    return std::move(header_);
  }

 private:
  // A string that outlives the scanner's scratch space.
  std::string_view kept(std::string_view text) { return text.data() == scratch_.data() ? header_.texts.emplace_back(text) : text; }

  void read_metadata() {
    if (has_metadata_) raise(invalid_input, "{}: __metadata__ at offset {}: want one, found two", where_, json_.offset());
    has_metadata_ = true;
    json_.expect('{');
    if (json_.accept('}')) return;
    do {
      std::string_view key = json_.string(scratch_, kMaxTensorNameBytes, "__metadata__ key");
      json_.expect(':');
      if (json_.peek() != '"') {
        raise(invalid_input, "{}: __metadata__ key {} at offset {}: want a string, found {}", where_, escaped(key), json_.offset(),
              escaped(json_.token(), 40));
      }
      if (header_.metadata.size() >= kMaxTensors)
        raise(invalid_input, "{}: __metadata__: want at most {} keys, found more", where_, kMaxTensors);
      if (keep_metadata_) {
        key = kept(key);
        header_.metadata.emplace_back(key, kept(json_.string(scratch_, kMaxSafetensorsHeaderBytes, "__metadata__ value")));
      } else {
        json_.skip_value();
      }
    } while (json_.another('}'));
  }

  void read_entry(std::string_view name) {
    check_tensor_name(name, where_);
    if (header_.entries.size() >= kMaxTensors) raise(invalid_input, "{}: header: want at most {} tensors, found more", where_, kMaxTensors);
    SafetensorsEntry entry{
        .name = name, .dtype = nullptr, .first_dim = static_cast<uint32_t>(header_.dims.size()), .rank = 0, .begin = 0, .end = 0};
    bool has_shape = false, has_range = false;
    json_.expect('{');
    do {
      const std::string_view field = json_.string(scratch_, kMaxTensorNameBytes, "field of a tensor");
      if (field == "dtype" && entry.dtype == nullptr) {
        json_.expect(':');
        read_dtype(entry);
      } else if (field == "shape" && !has_shape) {
        has_shape = true;
        json_.expect(':');
        read_shape(entry);
      } else if (field == "data_offsets" && !has_range) {
        has_range = true;
        json_.expect(':');
        read_range(entry);
      } else {
        raise(invalid_input, "{}: {}: want dtype, shape and data_offsets once each, found field {}", where_, escaped(name),
              escaped(field, 80));
      }
    } while (json_.another('}'));
    if (entry.dtype == nullptr || !has_shape || !has_range) {
      raise(invalid_input, "{}: {}: want dtype, shape and data_offsets, found no {}", where_, escaped(name),
            entry.dtype == nullptr ? "dtype"
            : has_shape            ? "data_offsets"
                                   : "shape");
    }
    check_entry(entry);
    header_.entries.push_back(entry);
  }

  void read_dtype(SafetensorsEntry& entry) {
    const std::string_view name = json_.string(scratch_, kMaxTensorNameBytes, "dtype");
    entry.dtype = find_safetensors_dtype(name);
    if (entry.dtype == nullptr) {
      raise(invalid_input, "{}: {}: dtype: want one of {}, found {}", where_, escaped(entry.name), dtype_list(), escaped(name, 40));
    }
  }

  void read_shape(SafetensorsEntry& entry) {
    json_.expect('[');
    if (json_.accept(']')) return;
    do {
      if (entry.rank == kMaxTensorRank)
        raise(invalid_input, "{}: {}: shape: want at most {} dimensions, found more", where_, escaped(entry.name), kMaxTensorRank);
      header_.dims.push_back(integer(entry, "dimension"));
      ++entry.rank;
    } while (json_.another(']'));
  }

  void read_range(SafetensorsEntry& entry) {
    json_.expect('[');
    entry.begin = integer(entry, "data_offsets");
    json_.expect(',');
    entry.end = integer(entry, "data_offsets");
    json_.expect(']');
  }

  uint64_t integer(const SafetensorsEntry& entry, const char* what) {
    const std::optional<uint64_t> value = json_.unsigned_integer();
    if (!value) {
      raise(invalid_input, "{}: {}: {} is not an unsigned integer: found {} at offset {}", where_, escaped(entry.name), what,
            escaped(json_.token(), 40), json_.offset());
    }
    return *value;
  }

  void check_entry(SafetensorsEntry& entry) {
    const auto name = [&] { return escaped(entry.name); };
    if (entry.begin > entry.end)
      raise(invalid_input, "{}: {}: data_offsets: want begin <= end, found [{},{}]", where_, name(), entry.begin, entry.end);
    if (entry.end > data_bytes_)
      raise(invalid_input, "{}: {}: data_offsets: want an end of at most {} (bytes of data), found {}", where_, name(), data_bytes_,
            entry.end);
    Checked bits = entry.dtype->bits;
    for (const uint64_t dim : header_.shape(entry)) bits = bits * dim;
    if (bits.overflowed()) raise(invalid_input, "{}: {}: shape {}: size overflows 64 bits", where_, name(), shape_text(entry));
    const uint64_t total = bits.or_throw("size");
    if (total % 8 != 0 || total / 8 != entry.end - entry.begin) {
      raise(invalid_input, "{}: {}: {} {} is {}{} bytes, data_offsets [{},{}] are {}", where_, name(), entry.dtype->name, shape_text(entry),
            total / 8, total % 8 == 0 ? "" : " and a part", entry.begin, entry.end, entry.end - entry.begin);
    }
    entry.begin += header_.data_offset;
    entry.end += header_.data_offset;
  }

  std::string shape_text(const SafetensorsEntry& entry) const {
    std::string text;
    for (const uint64_t dim : header_.shape(entry)) text += fmt::format("{}{}", text.empty() ? "" : ",", dim);
    return "[" + text + "]";
  }

  void check_names() {
    std::vector<std::pair<uint64_t, std::string_view>> names;  // a hash first: most comparisons then look at no text
    const auto refuse_duplicates = [&](const char* what) {
      std::sort(names.begin(), names.end());
      const auto twice = std::adjacent_find(names.begin(), names.end());
      if (twice != names.end()) raise(invalid_input, "{}: {} {} is there twice", where_, what, escaped(twice->second));
      names.clear();
    };
    names.reserve(header_.entries.size());
    for (const SafetensorsEntry& entry : header_.entries) names.emplace_back(xxh3_of(entry.name), entry.name);
    refuse_duplicates("tensor");
    for (const auto& [key, value] : header_.metadata) names.emplace_back(xxh3_of(key), key);
    refuse_duplicates("__metadata__ key");
  }

  void check_ranges() {
    std::sort(header_.entries.begin(), header_.entries.end(),
              [](const SafetensorsEntry& a, const SafetensorsEntry& b) { return std::pair(a.begin, a.end) < std::pair(b.begin, b.end); });
    const uint64_t base = header_.data_offset;
    uint64_t end = base;
    std::string_view previous;
    for (const SafetensorsEntry& entry : header_.entries) {
      if (entry.begin < end) {
        raise(invalid_input, "{}: {} [{},{}] overlaps {}, which ends at {}", where_, escaped(entry.name), entry.begin - base,
              entry.end - base, escaped(previous), end - base);
      }
      if (entry.begin > end)
        raise(invalid_input, "{}: data bytes [{},{}] before {} belong to no tensor", where_, end - base, entry.begin - base,
              escaped(entry.name));
      if (entry.end > end) previous = entry.name;
      end = entry.end;
    }
    if (end - base != data_bytes_)
      raise(invalid_input, "{}: data bytes [{},{}] at the end belong to no tensor", where_, end - base, data_bytes_);
  }

  std::string where_;
  bool keep_metadata_, has_metadata_ = false;
  JsonScanner json_;
  std::string scratch_;
  SafetensorsHeader header_;
  uint64_t data_bytes_ = 0;
};

}  // namespace

const SafetensorsDtype* find_safetensors_dtype(std::string_view name) {
  for (const SafetensorsDtype& dtype : kDtypes) {
    if (dtype.name == name) return &dtype;
  }
  return nullptr;
}

const SafetensorsDtype& safetensors_dtype_of(Format format) {
  for (const SafetensorsDtype& dtype : kDtypes) {
    if (dtype.format == format) return dtype;
  }
  return *find_safetensors_dtype("U8");
}

void check_tensor_name(std::string_view name, std::string_view where) {
  if (name.empty()) raise(invalid_input, "{}: tensor name: want at least 1 byte, found an empty name", where);
  for (const char c : name) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f)
      raise(invalid_input, "{}: tensor name {}: holds the control character 0x{:02x}", where, escaped(name), c);
  }
}

SafetensorsHeader SafetensorsHeader::parse(const MappedFile& file, Metadata metadata) {
  const std::string where = escaped(file.path());
  const uint64_t length = read_header_length(file, where);
  return HeaderParser(file, where, length, metadata == Metadata::keep).parse();
}

}  // namespace quern
