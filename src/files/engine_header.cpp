#include "files/engine_header.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <map>
#include <set>

#include "base/checked.h"
#include "base/parse.h"
#include "base/utf8.h"
#include "files/safetensors_header.h"
#include "files/xxh3.h"

namespace quern {
namespace {

// The first bytes of every header, of any version: a checksum of 16 hexadecimal digits, then the version.
constexpr std::string_view kBeforeChecksum = R"({"__metadata__":{"quern.header_xxh3":")";
constexpr size_t kChecksumDigits = 16;
constexpr std::string_view kBeforeVersion = R"(","quern.format_version":")";
constexpr std::string_view kVersionKey = "quern.format_version", kTensorKey = "quern.tensor.", kPadName = "__pad.";

struct Text {
  const char* key;
  Json EngineMetadata::*value;
};
constexpr Text kTexts[] = {{"quern.model", &EngineMetadata::model},
                           {"quern.generation", &EngineMetadata::generation},
                           {"quern.chat", &EngineMetadata::chat},
                           {"quern.build", &EngineMetadata::build},
                           {"quern.receipt", &EngineMetadata::receipt}};

std::string json_string(std::string_view text) { return Json(text).dump(-1, ' ', false, Json::error_handler_t::replace); }

std::string dumped(const Json& json) { return json.dump(-1, ' ', false, Json::error_handler_t::replace); }

std::string hex(uint64_t value) { return fmt::format("{:016x}", value); }

// Of exactly what hex() writes: capital digits are a flipped bit.
std::optional<uint64_t> from_hex(std::string_view text) {
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, 16);
  return error == std::errc() && hex(value) == text ? std::optional(value) : std::nullopt;
}

std::string list_text(std::span<const uint64_t> dims) {
  std::string text = "[";
  for (const uint64_t dim : dims) text += fmt::format("{}{}", text.size() == 1 ? "" : ",", dim);
  return text + "]";
}

std::vector<uint64_t> dims_of(const Shape& shape) {
  std::vector<uint64_t> dims;
  for (size_t i = 0; i < shape.rank(); ++i) dims.push_back(shape[i]);
  return dims;
}

std::string_view stored_dtype(const EngineTensorInfo& tensor) { return tensor.is_raw ? "U8" : safetensors_dtype_of(tensor.format).name; }

// As any safetensors tool sees it: plain formats as they are, the bytes of a row for the others.
std::vector<uint64_t> stored_dims(const EngineTensorInfo& tensor) {
  std::vector<uint64_t> dims = dims_of(tensor.shape);
  if (!tensor.is_raw && stored_dtype(tensor) == "U8") dims.back() = row_bytes(tensor.format, dims.back());
  return dims;
}

const char* format_text(const EngineTensorInfo& tensor) { return tensor.is_raw ? "raw" : format_name(tensor.format); }

// XXH3-64 of the 8 length bytes and the header, its checksum digits taken as zeros.
uint64_t header_checksum(std::string_view header) {
  const uint64_t length = header.size();
  const std::string zeros(kChecksumDigits, '0');
  const std::string_view rest = header.substr(kBeforeChecksum.size() + kChecksumDigits);
  Xxh3 hash;
  hash.update(&length, sizeof(length));
  hash.update(kBeforeChecksum.data(), kBeforeChecksum.size());
  hash.update(zeros.data(), zeros.size());
  hash.update(rest.data(), rest.size());
  return hash.digest();
}

// Bytes of a tensor with this shape and format; nothing when they overflow or a row is not whole blocks.
std::optional<uint64_t> tensor_bytes(const EngineTensorInfo& tensor) {
  Checked rows = 1;
  for (size_t i = 0; i < tensor.shape.rank(); ++i) {
    if (tensor.shape[i] == 0) return std::nullopt;
    if (i + 1 < tensor.shape.rank()) rows = rows * tensor.shape[i];
  }
  if (tensor.shape.rank() == 0) return std::nullopt;
  if (tensor.is_raw) return tensor.shape.rank() == 1 ? std::optional<uint64_t>(tensor.shape[0]) : std::nullopt;
  const FormatInfo& format = format_info(tensor.format);
  if (tensor.shape.columns() % format.block_values != 0) return std::nullopt;
  const Checked bytes = (Checked(tensor.shape.columns() / format.block_values) * format.block_bytes + format.row_trailer_bytes) * rows;
  return bytes.overflowed() ? std::nullopt : std::optional(bytes.or_throw("size"));
}

std::string header_text(const std::vector<EngineTensorInfo>& tensors, uint64_t data_offset, const EngineMetadata& metadata) {
  std::string text(kBeforeChecksum);
  text += std::string(kChecksumDigits, '0') + std::string(kBeforeVersion) + fmt::to_string(kEngineFormatVersion) + "\"";
  for (const Text& part : kTexts) text += fmt::format(",{}:{}", json_string(part.key), json_string(dumped(metadata.*part.value)));
  for (const EngineTensorInfo& tensor : tensors) {
    text += fmt::format(",{}:{}", json_string(std::string(kTensorKey) + tensor.name),
                        json_string(fmt::format("{} {} {}", format_text(tensor), list_text(dims_of(tensor.shape)), hex(tensor.xxh3))));
  }
  text += "}";
  uint64_t end = data_offset;
  size_t num_pads = 0;
  const auto entry = [&](const std::string& name, std::string_view dtype, const std::vector<uint64_t>& dims, uint64_t begin,
                         uint64_t bytes) {
    text += fmt::format(R"(,{}:{{"dtype":"{}","shape":{},"data_offsets":[{},{}]}})", json_string(name), dtype, list_text(dims),
                        begin - data_offset, begin - data_offset + bytes);
  };
  for (const EngineTensorInfo& tensor : tensors) {
    if (tensor.offset != end) entry(fmt::format("{}{}", kPadName, num_pads++), "U8", {tensor.offset - end}, end, tensor.offset - end);
    entry(tensor.name, stored_dtype(tensor), stored_dims(tensor), tensor.offset, tensor.bytes);
    end = tensor.offset + tensor.bytes;
  }
  return text + "}";
}

void check_name(const std::string& name, const std::set<std::string>& earlier) {
  CHECK(!name.empty() && name.size() <= 1024 && utf8_first_invalid(name) == name.npos && name != "__metadata__" &&
            !name.starts_with(kPadName),
        "tensor name {}", escaped(name));
  CHECK(!earlier.contains(name), "tensor {} twice", escaped(name));
  check_tensor_name(name, "engine file");
}

void place(std::vector<EngineTensorInfo>& tensors, uint64_t data_offset) {
  Checked end = data_offset;
  for (EngineTensorInfo& tensor : tensors) {
    tensor.offset = end.align_up(kTensorAlignment).or_throw("offset of {}", escaped(tensor.name));
    end = Checked(tensor.offset) + tensor.bytes;
    end.or_throw("end of {}", escaped(tensor.name));
  }
}

}  // namespace

EngineLayout plan_engine_layout(std::vector<EngineTensorInfo> tensors) {
  std::set<std::string> names;
  for (EngineTensorInfo& tensor : tensors) {
    check_name(tensor.name, names);
    names.insert(tensor.name);
    const std::optional<uint64_t> bytes = tensor_bytes(tensor);
    CHECK(bytes.has_value(), "{}: shape {} in {}", escaped(tensor.name), tensor.shape.text(), format_text(tensor));
    tensor.bytes = *bytes;
    tensor.xxh3 = 0;
  }
  // The length of the header depends on the digits of its offsets, which count from the data's start: placing once with any start is
  // enough.
  place(tensors, 0);
  const uint64_t text_bytes = header_text(tensors, 0, {}).size() + kMaxMetadataBytes;
  const uint64_t data_offset = Checked(8 + text_bytes).align_up(kTensorAlignment).or_throw("header size");
  CHECK(data_offset - 8 <= kMaxEngineHeaderBytes, "header of {} bytes", data_offset - 8);
  place(tensors, data_offset);
  const uint64_t file_bytes = tensors.empty() ? data_offset : tensors.back().offset + tensors.back().bytes;
  return {std::move(tensors), data_offset - 8, file_bytes};
}

std::string write_engine_header(const EngineLayout& layout, const EngineMetadata& metadata) {
  std::string text = header_text(layout.tensors, 8 + layout.header_bytes, metadata);
  CHECK(text.size() <= layout.header_bytes, "metadata is over the limit of {} bytes: header of {} bytes in {}", kMaxMetadataBytes,
        text.size(), layout.header_bytes);
  text.resize(layout.header_bytes, ' ');
  text.replace(kBeforeChecksum.size(), kChecksumDigits, hex(header_checksum(text)));
  return text;
}

namespace {

// Checks what comes before the JSON is parsed: that this is an engine file, its version, the header's checksum.
void check_start(const MappedFile& file, const std::string& where) {
  if (file.size() == 0) raise(invalid_input, "{}: file is empty", where);
  if (file.size() < 8) raise(invalid_input, "{}: want the 8 bytes of the header length, file has {} bytes", where, file.size());
  const std::string_view text = file.text().substr(8);
  const bool has_start = text.starts_with(kBeforeChecksum);
  const bool is_gguf = file.text().starts_with("GGUF");
  if (!text.empty() && (text[0] != '{' || is_gguf) && !text.substr(1).starts_with(kBeforeChecksum.substr(1))) {
    raise(incompatible, "{}: want an engine file of format version {}, found {}; build one with quern build", where, kEngineFormatVersion,
          is_gguf ? "a GGUF file" : "another kind of file");
  }
  uint64_t length;
  std::memcpy(&length, file.bytes().data(), sizeof(length));
  if (length == 0 && has_start)
    raise(invalid_input, "{}: header length at offset 0: found 0: the file was never finished; build it again", where);
  if (length > file.size() - 8 || length > kMaxEngineHeaderBytes) {
    raise(invalid_input, "{}: header length at offset 0: want at most {} (the file has {} bytes, the limit is {}), found {}", where,
          std::min(file.size() - 8, kMaxEngineHeaderBytes), file.size(), kMaxEngineHeaderBytes, length);
  }
  const std::string_view header = text.substr(0, length);
  const size_t version_at = kBeforeChecksum.size() + kChecksumDigits + kBeforeVersion.size();
  if (!has_start || header.size() < version_at) return;  // damaged or another file: read_engine_header() tells which

  const std::string_view version = header.substr(version_at, header.find('"', version_at) - version_at);
  const std::string ours = fmt::to_string(kEngineFormatVersion);
  const bool is_number = parse_number<uint32_t>(version).has_value();
  // A wrong bit makes a 1 a 3, 5 or 9: that is damage and no newer version, unless the checksum agrees with it.
  const bool is_one_bit_off =
      version > ours && version.size() == ours.size() && std::has_single_bit(static_cast<unsigned>(version.back() ^ ours.back()));
  const std::string_view digits = header.substr(kBeforeChecksum.size(), kChecksumDigits);
  const bool is_sound = from_hex(digits) == header_checksum(header);
  if (is_number && version != ours && (is_sound || !is_one_bit_off)) {
    raise(
        incompatible,
        "{}: engine format version: want {}, found {}; build the engine again with this version of quern, or use the version that wrote it",
        where, ours, version);
  }
  if (!is_sound) {
    raise(invalid_input, "{}: header checksum: want {}, found {}: the header is damaged; build the engine again", where,
          hex(header_checksum(header)), escaped(digits));
  }
  if (version != ours) raise(invalid_input, "{}: quern.format_version: want a number, found {}", where, escaped(version, 40));
}

class EngineHeaderReader {
 public:
  explicit EngineHeaderReader(const MappedFile& file) : where_(escaped(file.path())) {
    check_start(file, where_);
    header_ = SafetensorsHeader::parse(file, SafetensorsHeader::Metadata::keep);
    texts_.insert(header_.metadata.begin(), header_.metadata.end());
    const auto version = texts_.find(kVersionKey);
    if (version == texts_.end() && !file.text().substr(8).starts_with(kBeforeChecksum)) {
      raise(incompatible, "{}: want an engine file of format version {}, found safetensors of another kind; build one with quern build",
            where_, kEngineFormatVersion);
    }
    if (!file.text().substr(8).starts_with(kBeforeChecksum) || version == texts_.end()) {
      if (version != texts_.end() && version->second != fmt::to_string(kEngineFormatVersion)) {
        raise(incompatible, "{}: engine format version: want {}, found {}; build the engine again", where_, kEngineFormatVersion,
              escaped(version->second, 40));
      }
      raise(invalid_input,
            "{}: header: its checksum is not in its place: the header is damaged, or another tool wrote it; build the engine again",
            where_);
    }
  }

  EngineHeader read() {
    EngineHeader out;
    out.data_offset = header_.data_offset;
    for (const Text& part : kTexts) out.metadata.*part.value = read_text(part.key);
    std::set<std::string_view> names;
    for (const SafetensorsEntry& entry : header_.entries) {
      if (entry.name.starts_with(kPadName)) {
        if (entry.dtype->name != "U8" || entry.end - entry.begin >= kTensorAlignment)
          refuse(entry, fmt::format("want padding of less than {} bytes as U8", kTensorAlignment));
        continue;
      }
      out.tensors.push_back(read_tensor(entry));
      names.insert(entry.name);
    }
    for (const auto& [key, text] : texts_) {
      if (key.starts_with(kTensorKey) && !names.contains(key.substr(kTensorKey.size())))
        raise(invalid_input, "{}: {}: want a tensor of that name, found none", where_, escaped(key));
    }
    return out;
  }

 private:
  [[noreturn]] void refuse(const SafetensorsEntry& entry, const std::string& why) const {
    raise(invalid_input, "{}: {}: {}", where_, escaped(entry.name), why);
  }

  Json read_text(const char* key) const {
    const auto found = texts_.find(key);
    if (found == texts_.end()) raise(invalid_input, "{}: {}: want JSON, found nothing", where_, key);
    return parse_json(found->second, fmt::format("{}: {}", where_, key), {.max_bytes = kMaxMetadataBytes});
  }

  EngineTensorInfo read_tensor(const SafetensorsEntry& entry) const {
    EngineTensorInfo tensor{.name = std::string(entry.name), .offset = entry.begin, .bytes = entry.end - entry.begin};
    const auto found = texts_.find(std::string(kTensorKey) + tensor.name);
    if (found == texts_.end()) refuse(entry, fmt::format("want {}NAME in the metadata, found nothing", kTensorKey));
    read_tensor_text(entry, found->second, tensor);
    if (tensor.offset % kTensorAlignment != 0)
      refuse(entry, fmt::format("want an offset that is a multiple of {}, found {}", kTensorAlignment, tensor.offset));
    const std::optional<uint64_t> bytes = tensor_bytes(tensor);
    if (!bytes || *bytes != tensor.bytes) {
      refuse(entry, fmt::format("{} {}: want {} bytes, found {}", tensor.shape.text(), format_text(tensor),
                                bytes ? fmt::to_string(*bytes) : "a size of whole blocks and", tensor.bytes));
    }
    const std::span<const uint64_t> stored = header_.shape(entry);
    if (entry.dtype->name != stored_dtype(tensor) || !std::ranges::equal(stored, stored_dims(tensor))) {
      refuse(entry, fmt::format("want {} {}, found {} {}", stored_dtype(tensor), list_text(stored_dims(tensor)), entry.dtype->name,
                                list_text(stored)));
    }
    return tensor;
  }

  // "FORMAT [rows,columns] CHECKSUM"
  void read_tensor_text(const SafetensorsEntry& entry, std::string_view text, EngineTensorInfo& tensor) const {
    const size_t first = text.find(" ["), second = text.find("] ");
    const std::optional<uint64_t> checksum = second == text.npos ? std::nullopt : from_hex(text.substr(second + 2));
    if (first == text.npos || !checksum || second < first + 2)
      refuse(entry, fmt::format("want FORMAT [SHAPE] CHECKSUM in the metadata, found {}", escaped(text, 80)));
    tensor.xxh3 = *checksum;
    const std::string_view format = text.substr(0, first);
    tensor.is_raw = format == "raw";
    if (const auto known = find_format(format)) {
      tensor.format = *known;
    } else if (!tensor.is_raw) {
      raise(incompatible, "{}: {}: weight format {} is not known here; want one of docs/formats.md", where_, escaped(entry.name),
            escaped(format, 40));
    }
    std::vector<uint64_t> dims;
    for (std::string_view list = text.substr(first + 2, second - first - 2); !list.empty();) {
      const size_t comma = std::min(list.find(','), list.size());
      const auto dim = parse_number<uint64_t>(list.substr(0, comma), 1, uint64_t{1} << 42);
      if (!dim || dims.size() == Shape::kMaxRank)
        refuse(entry, fmt::format("want up to {} dimensions from 1 on, found {}", Shape::kMaxRank, escaped(text, 80)));
      dims.push_back(*dim);
      list.remove_prefix(std::min(comma + 1, list.size()));
    }
    tensor.shape = Shape(std::span<const size_t>(dims));
  }

  std::string where_;
  SafetensorsHeader header_;
  std::map<std::string_view, std::string_view> texts_;
};

}  // namespace

EngineHeader read_engine_header(const MappedFile& file) { return EngineHeaderReader(file).read(); }

}  // namespace quern
