#include "files/gguf_part.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "base/checked.h"
#include "base/error.h"
#include "base/utf8.h"
#include "files/gguf_cursor.h"
#include "files/safetensors_header.h"
#include "formats/list.h"

namespace quern {
namespace {

static_assert(std::endian::native == std::endian::little, "GGUF is read as it lies in memory");

constexpr uint32_t kOldestVersion = 2, kNewestVersion = 3;
constexpr uint64_t kMinAlignment = 8, kMaxAlignment = 65536, kDefaultAlignment = 32;
constexpr uint64_t kMaxTensorNameLength = 63;  // ggml's own limit
constexpr uint64_t kMaxDimension = uint64_t{1} << 42;
constexpr uint64_t kMinKeyBytes = 8 + 1 + 4 + 1, kMinTensorBytes = 8 + 1 + 4 + 8 + 4 + 8;

class PartParser {
 public:
  explicit PartParser(const MappedFile& file) : file_(file), in_(file, kMaxGgufMetadataBytes), where_(in_.where()) {}

  GgufPart parse() {
    read_magic_and_version();
    const uint64_t num_tensors = in_.take_count(kMinTensorBytes, kMaxTensors, "number of tensors");
    const uint64_t num_keys = in_.take_count(kMinKeyBytes, GgufPart::kMaxKeys, "number of metadata keys");
    part_.metadata = Json::object();
    for (uint64_t i = 0; i < num_keys; ++i) read_key(i);
    read_alignment();
    part_.tensors.reserve(num_tensors);
    for (uint64_t i = 0; i < num_tensors; ++i) read_tensor(i);
    place_tensors();
    return std::move(part_);
  }

 private:
  void read_magic_and_version() {
    const std::string_view magic = in_.take_bytes(4, "magic of the header");
    if (magic == "FUGG")
      raise(incompatible, "{}: big-endian GGUF; want a little-endian file of version {} or {}", where_, kOldestVersion, kNewestVersion);
    if (magic != "GGUF") raise(invalid_input, "{}: magic at offset 0: want GGUF, found {}", where_, escaped(magic));
    const auto version = in_.take<uint32_t>("version in the header");
    const uint32_t swapped = __builtin_bswap32(version);
    if (version > 0xffff && swapped <= 0xffff) {
      raise(incompatible, "{}: big-endian GGUF of version {}; want a little-endian file of version {} or {}", where_, swapped,
            kOldestVersion, kNewestVersion);
    }
    if (version < kOldestVersion || version > kNewestVersion) {
      raise(incompatible, "{}: GGUF version: want {} or {}, found {}", where_, kOldestVersion, kNewestVersion, version);
    }
  }

  void read_key(uint64_t index) {
    const std::string what = fmt::format("metadata key {}", index);
    const uint64_t at = in_.offset();
    const std::string_view key = in_.take_string(what);
    if (key.empty() || key.size() > kMaxTensorNameBytes) {
      raise(invalid_input, "{}: {} at offset {}: want 1 to {} bytes, found {}: {}", where_, what, at, kMaxTensorNameBytes, key.size(),
            escaped(key, 80));
    }
    check_text(key, what);
    for (const char c : key) {
      if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f)
        raise(invalid_input, "{}: {} at offset {}: holds a control character: {}", where_, what, at, escaped(key, 80));
    }
    const std::string name(key);
    if (part_.metadata.contains(name) || part_.arrays.contains(key))
      raise(invalid_input, "{}: metadata key {} is there twice", where_, escaped(key, 80));
    const auto type = take_type(name);
    if (type == GgufValueType::array) {
      read_array(key, name);
    } else {
      part_.metadata[name] = take_value(type, name);
      if (name == "general.alignment") alignment_type_ = type;
    }
  }

  GgufValueType take_type(const std::string& key) {
    const uint64_t at = in_.offset();
    const auto type = in_.take<uint32_t>(escaped(key, 80));
    if (type >= kNumGgufValueTypes) {
      raise(invalid_input, "{}: {}: value type at offset {}: want 0 to {}, found {}", where_, escaped(key, 80), at, kNumGgufValueTypes - 1,
            type);
    }
    return static_cast<GgufValueType>(type);
  }

  void read_array(std::string_view key, const std::string& name) {
    const std::string shown = escaped(key, 80);
    const GgufValueType type = take_type(name);
    if (type == GgufValueType::array) raise(invalid_input, "{}: {}: an array of arrays is not supported", where_, shown);
    const uint64_t element_bytes = type == GgufValueType::string ? 8 : gguf_value_bytes(type);
    const uint64_t count =
        in_.take_count(element_bytes, GgufPart::kMaxElements, fmt::format("{}: count of {} elements", shown, gguf_value_type_name(type)));
    part_.arrays.emplace(key, GgufArray{type, count, in_.offset()});
    if (name == "general.alignment") alignment_type_ = GgufValueType::array;
    if (count <= GgufPart::kMaxKeptElements && !name.starts_with("tokenizer.ggml.")) {
      Json array = Json::array();
      for (uint64_t i = 0; i < count; ++i) array.push_back(take_value(type, name));
      part_.metadata[name] = std::move(array);
    } else if (type == GgufValueType::string) {
      for (uint64_t i = 0; i < count; ++i) in_.take_string(shown);
    } else {
      in_.take_bytes(count * element_bytes, shown);  // no overflow: count was checked against the bytes that are left
    }
  }

  Json take_value(GgufValueType type, const std::string& key) {
    const std::string what = escaped(key, 80);
    switch (type) {
      case GgufValueType::u8: return in_.take<uint8_t>(what);
      case GgufValueType::i8: return in_.take<int8_t>(what);
      case GgufValueType::u16: return in_.take<uint16_t>(what);
      case GgufValueType::i16: return in_.take<int16_t>(what);
      case GgufValueType::u32: return in_.take<uint32_t>(what);
      case GgufValueType::i32: return in_.take<int32_t>(what);
      case GgufValueType::u64: return in_.take<uint64_t>(what);
      case GgufValueType::i64: return in_.take<int64_t>(what);
      case GgufValueType::f32: return finite(static_cast<double>(in_.take<float>(what)), what);
      case GgufValueType::f64: return finite(in_.take<double>(what), what);
      case GgufValueType::boolean: {
        const auto byte = in_.take<uint8_t>(what);
        if (byte > 1) raise(invalid_input, "{}: {}: want a bool of 0 or 1, found {}", where_, what, byte);
        return byte == 1;
      }
      case GgufValueType::string: {
        const std::string_view text = in_.take_string(what);
        check_text(text, what);
        return std::string(text);
      }
      case GgufValueType::array: break;
    }
    raise(internal, "{}: a value of type {}", where_, static_cast<uint32_t>(type));
  }

  double finite(double value, const std::string& what) const {
    if (!std::isfinite(value)) raise(invalid_input, "{}: {}: want a finite number, found {}", where_, what, value);
    return value;
  }

  void check_text(std::string_view text, const std::string& what) const {
    if (const size_t bad = utf8_first_invalid(text); bad != text.npos)
      raise(invalid_input, "{}: {}: invalid UTF-8 at its byte {}", where_, what, bad);
  }

  void read_alignment() {
    if (!alignment_type_) return;
    const std::string want = fmt::format("want a power of two from {} to {} as u32", kMinAlignment, kMaxAlignment);
    if (*alignment_type_ != GgufValueType::u32)
      raise(invalid_input, "{}: general.alignment: {}, found {}", where_, want, gguf_value_type_name(*alignment_type_));
    alignment_ = part_.metadata.at("general.alignment").get<uint64_t>();
    if (!std::has_single_bit(alignment_) || alignment_ < kMinAlignment || alignment_ > kMaxAlignment) {
      raise(invalid_input, "{}: general.alignment: {}, found {}", where_, want, alignment_);
    }
  }

  void read_tensor(uint64_t index) {
    const std::string what = fmt::format("tensor {}", index);
    GgufTensor tensor;
    const uint64_t at = in_.offset();
    tensor.name = in_.take_string(what + " name");
    if (tensor.name.empty() || tensor.name.size() > kMaxTensorNameLength) {
      raise(invalid_input, "{}: {} at offset {}: name: want 1 to {} bytes, found {}: {}", where_, what, at, kMaxTensorNameLength,
            tensor.name.size(), escaped(tensor.name, 80));
    }
    const std::string shown = escaped(tensor.name);
    check_text(tensor.name, what + " name");
    check_tensor_name(tensor.name, where_);
    tensor.rank = in_.take<uint32_t>(shown);
    if (tensor.rank < 1 || tensor.rank > tensor.dims.size())
      raise(invalid_input, "{}: {}: want 1 to 4 dimensions, found {}", where_, shown, tensor.rank);
    for (uint32_t i = 0; i < tensor.rank; ++i) {
      tensor.dims[i] = in_.take<uint64_t>(shown);
      if (tensor.dims[i] < 1 || tensor.dims[i] > kMaxDimension) {
        raise(invalid_input, "{}: {}: dimension {}: want 1 to {}, found {}", where_, shown, i, kMaxDimension, tensor.dims[i]);
      }
    }
    const auto type = in_.take<uint32_t>(shown);
    tensor.type = find_gguf_tensor_type(type);
    if (tensor.type == nullptr || (!tensor.type->format && tensor.type->value_bytes == 0)) {
      raise(incompatible, "{}: {}: type {} ({}) is not supported; want one of {}", where_, shown, type,
            tensor.type == nullptr ? "unknown" : tensor.type->name, supported_gguf_tensor_types());
    }
    const uint64_t block_values = tensor.type->format ? format_info(*tensor.type->format).block_values : 1;
    const uint64_t block_bytes = tensor.type->format ? format_info(*tensor.type->format).block_bytes : tensor.type->value_bytes;
    if (tensor.dims[0] % block_values != 0) {
      raise(invalid_input, "{}: {}: dimension 0: want a multiple of the block of {} ({} values), found {}", where_, shown,
            tensor.type->name, block_values, tensor.dims[0]);
    }
    Checked values = 1, bytes = Checked(tensor.dims[0] / block_values) * block_bytes;
    for (uint32_t i = 0; i < tensor.rank; ++i) values = values * tensor.dims[i];
    for (uint32_t i = 1; i < tensor.rank; ++i) bytes = bytes * tensor.dims[i];
    values.or_throw("{}: {}: number of values", where_, shown);
    tensor.bytes = bytes.or_throw("{}: {}: size", where_, shown);
    tensor.begin = in_.take<uint64_t>(shown);  // from the start of the data, until place_tensors()
    part_.tensors.push_back(tensor);
  }

  void place_tensors() {
    if (part_.tensors.empty()) return;
    const uint64_t data = Checked(in_.offset()).align_up(alignment_).or_throw("{}: start of the data", where_);
    if (data > file_.size())
      raise(invalid_input, "{}: data: truncated: want it to start at offset {}, the file has {} bytes", where_, data, file_.size());
    const uint64_t data_bytes = file_.size() - data;
    uint64_t last_end = 0;  // padding included
    for (GgufTensor& tensor : part_.tensors) {
      const auto refuse = [&](const std::string& why) {
        raise(invalid_input, "{}: {}: offset {}: {}", where_, escaped(tensor.name), tensor.begin, why);
      };
      if (tensor.begin % alignment_ != 0) refuse(fmt::format("want a multiple of {}", alignment_));
      const uint64_t end = (Checked(tensor.begin) + tensor.bytes).or_throw("{}: {}: end", where_, escaped(tensor.name));
      const uint64_t padded_end = Checked(end).align_up(alignment_).or_throw("{}: {}: padded end", where_, escaped(tensor.name));
      if (padded_end > data_bytes)
        refuse(fmt::format("truncated: want {} bytes of data, padding included, the file has {}", padded_end, data_bytes));
      tensor.begin += data;
      last_end = std::max(last_end, padded_end);
    }
    check_overlaps();
    check_names();
    // Bytes that belong to no tensor mean that the list or the alignment is not what the file was written with: the values would be wrong.
    if (last_end != data_bytes) {
      raise(invalid_input, "{}: data: want {} bytes from offset {} on, as the tensors say, the file has {}", where_, last_end, data,
            data_bytes);
    }
  }

  void check_overlaps() const {
    std::vector<const GgufTensor*> order = pointers();
    std::sort(order.begin(), order.end(), [](const GgufTensor* a, const GgufTensor* b) { return a->begin < b->begin; });
    for (size_t i = 1; i < order.size(); ++i) {
      const GgufTensor &a = *order[i - 1], &b = *order[i];
      if (b.begin < a.begin + a.bytes) {
        raise(invalid_input, "{}: {} at offset {} overlaps {} at offset {} of {} bytes", where_, escaped(b.name), b.begin, escaped(a.name),
              a.begin, a.bytes);
      }
    }
  }

  void check_names() const {
    std::vector<const GgufTensor*> order = pointers();
    std::sort(order.begin(), order.end(), [](const GgufTensor* a, const GgufTensor* b) { return a->name < b->name; });
    for (size_t i = 1; i < order.size(); ++i) {
      if (order[i - 1]->name == order[i]->name) raise(invalid_input, "{}: tensor {} is there twice", where_, escaped(order[i]->name));
    }
  }

  std::vector<const GgufTensor*> pointers() const {
    std::vector<const GgufTensor*> pointers;
    for (const GgufTensor& tensor : part_.tensors) pointers.push_back(&tensor);
    return pointers;
  }

  const MappedFile& file_;
  GgufCursor in_;
  std::string where_;
  GgufPart part_;
  std::optional<GgufValueType> alignment_type_;
  uint64_t alignment_ = kDefaultAlignment;
};

}  // namespace

GgufPart GgufPart::parse(const MappedFile& file) { return PartParser(file).parse(); }

std::vector<std::string_view> gguf_strings(const MappedFile& file, const GgufArray& array) {
  std::vector<std::string_view> strings;
  strings.reserve(array.count);
  uint64_t at = array.offset;
  for (uint64_t i = 0; i < array.count; ++i) {
    uint64_t length;
    std::memcpy(&length, file.bytes().data() + at, sizeof(length));
    strings.push_back(file.text().substr(at + sizeof(length), length));
    at += sizeof(length) + length;
  }
  return strings;
}

}  // namespace quern
