// Engine files: any bytes are read or refused with an Error, and what is read lies in the file. The header's length and checksum are
// repaired, so that the parser is reached.
#include "base/error.h"
#include "base/log.h"
#include "files/engine_file.h"
#include "files/xxh3.h"
#include "fuzz_file.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace quern;
  constexpr std::string_view kStart = R"({"__metadata__":{"quern.header_xxh3":")";
  set_log_level(LogLevel::off);
  std::string bytes(reinterpret_cast<const char*>(data), size);
  const size_t checksum_at = 8 + kStart.size();
  if (bytes.size() > checksum_at + 16) {
    uint64_t length;
    std::memcpy(&length, bytes.data(), sizeof(length));
    length %= bytes.size() - 7;
    std::memcpy(bytes.data(), &length, sizeof(length));
    if (length > kStart.size() + 16) {
      bytes.replace(checksum_at, 16, std::string(16, '0'));
      bytes.replace(checksum_at, 16, fmt::format("{:016x}", xxh3_of(std::string_view(bytes).substr(0, 8 + length))));
    }
  }
  const FuzzFile file(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size(), "engine");
  try {
    const std::shared_ptr<EngineFile> engine = EngineFile::open(file.path());
    for (const EngineTensorInfo& info : engine->tensors()) {
      if (info.offset % kTensorAlignment != 0 || info.offset + info.bytes > bytes.size()) std::abort();
      if (!info.is_raw && engine->tensor(info.name, info.shape).bytes() != info.bytes) std::abort();
    }
    engine->verify(1);
  } catch (const Error& error) {
    if (error.code() == internal) std::abort();
  }
  return 0;
}
