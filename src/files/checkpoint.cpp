#include "files/checkpoint.h"

#include <sys/stat.h>

#include <cerrno>
#include <system_error>

#include "base/error.h"
#include "files/gguf.h"
#include "files/hugging_face.h"

namespace quern {

const Tensor& SourceTensor::weight(std::string_view where) const {
  if (tensor || packed) return tensor;
  std::string shape;
  for (const uint64_t dim : dims) shape += fmt::format("{}{}", shape.empty() ? "" : ",", dim);
  raise(invalid_input, "{}: {}: want a weight of at most 4 dimensions in a format of docs/formats.md, file has {} [{}]", where,
        escaped(name), dtype, shape);
}

const std::byte* SourceTensor::rows(size_t first, size_t count, std::vector<std::byte>& buffer) const {
  const size_t stride = tensor.row_bytes();
  if (!packed) return tensor.data + first * stride;
  buffer.resize(count * stride);
  packed->write_rows(first, count, buffer.data());
  return buffer.data();
}

const SourceTensor* Checkpoint::find(const std::string& name) const {
  const auto found = tensors_.find(name);
  return found == tensors_.end() ? nullptr : &found->second;
}

Checkpoint Checkpoint::open(const std::string& path) {
  const std::string where = escaped(path);
  struct stat status {};
  if (path.empty() || path.find('\0') != path.npos)
    raise(invalid_input, "{}: want the path of a GGUF file or a Hugging Face folder", where);
  if (::stat(path.c_str(), &status) != 0) raise(resource, "{}: {}", where, std::generic_category().message(errno));
  if (S_ISDIR(status.st_mode)) return HuggingFaceReader(path).read();

  for (const char* pickle : {".bin", ".pt", ".pth", ".ckpt", ".pkl"}) {
    if (path.ends_with(pickle))
      raise(incompatible, "{}: pickle files are never opened because they can run code; convert to safetensors", where);
  }
  const MappedFile file(path);
  if (file.size() == 0) raise(invalid_input, "{}: file is empty", where);
  const std::string_view magic = file.text().substr(0, 4);
  if (magic == "GGUF" || magic == "FUGG") return GgufReader(path).read();
  if (path.ends_with(".safetensors"))
    raise(invalid_input, "{}: want the folder that holds it and config.json, found the file itself", where);
  raise(invalid_input, "{}: magic at offset 0: want GGUF (or a Hugging Face folder), found {}", where, escaped(magic));
}

}  // namespace quern
