// safetensors: any bytes are read or refused with an Error, and what is read lies in the file. The first byte chooses between the header
// (its length repaired, so that the parser is reached) and the index of a sharded folder.
#include "base/error.h"
#include "files/safetensors_header.h"
#include "files/shard_index.h"
#include "fuzz_file.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace quern;
  if (size < 9) return 0;
  std::string bytes(reinterpret_cast<const char*>(data), size);
  const char kind = bytes[0];
  bytes.erase(0, 1);
  if (kind % 3 == 0) {
    uint64_t length;
    std::memcpy(&length, bytes.data(), sizeof(length));
    length %= bytes.size() - 7;
    std::memcpy(bytes.data(), &length, sizeof(length));
  }
  const FuzzFile file(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size(), "safetensors");
  try {
    auto mapped = std::make_shared<MappedFile>(file.path());
    uint64_t sink = 0;
    if (kind % 3 == 2) {
      const ShardIndex index = ShardIndex::parse(mapped);
      for (const auto& [name, shard] : index.tensors) {
        touch(name.data(), name.size(), sink);
        touch(index.shards.at(shard).data(), index.shards.at(shard).size(), sink);
      }
    } else {
      const SafetensorsHeader header =
          SafetensorsHeader::parse(*mapped, kind % 2 == 0 ? SafetensorsHeader::Metadata::keep : SafetensorsHeader::Metadata::check);
      uint64_t end = header.data_offset;
      for (const SafetensorsEntry& entry : header.entries) {
        touch(entry.name.data(), entry.name.size(), sink);
        if (entry.begin != end || entry.end < entry.begin || entry.end > mapped->size()) std::abort();
        touch(mapped->bytes().data() + entry.begin, entry.end - entry.begin, sink);
        end = entry.end;
      }
      for (const auto& [key, value] : header.metadata) touch(value.data(), value.size(), sink);
    }
    volatile uint64_t keep = sink;
    (void)keep;
  } catch (const Error& error) {
    if (error.code() == internal) std::abort();
  }
  return 0;
}
