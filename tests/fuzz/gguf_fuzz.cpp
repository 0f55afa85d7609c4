// GGUF: any bytes are read or refused with an Error, and what is read lies in the file.
#include "base/error.h"
#include "base/log.h"
#include "files/checkpoint.h"
#include "files/gguf.h"
#include "fuzz_file.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace quern;
  const FuzzFile file(data, size, "gguf");
  try {
    const Checkpoint checkpoint = GgufReader(file.path()).read();
    uint64_t sink = 0;
    for (const auto& [name, tensor] : checkpoint.tensors()) {
      touch(tensor.bytes.data(), tensor.bytes.size(), sink);
      if (tensor.tensor.bytes() != tensor.bytes.size()) std::abort();
    }
    if (checkpoint.gguf_tokenizer()) {
      for (const std::string_view text : checkpoint.gguf_tokenizer()->tokens) touch(text.data(), text.size(), sink);
      for (const std::string_view text : checkpoint.gguf_tokenizer()->merges) touch(text.data(), text.size(), sink);
    }
    if (checkpoint.config().dump().empty()) std::abort();
    volatile uint64_t keep = sink;
    (void)keep;
  } catch (const Error& error) {
    if (error.code() == internal) std::abort();
  }
  return 0;
}
