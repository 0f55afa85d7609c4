// XXH3-64 of bytes, with a seed: for look-up tables in memory. Not a checksum format of its own.
#pragma once
#include <cstddef>
#include <cstdint>

namespace quern {

uint64_t hash_bytes(const void* data, size_t bytes, uint64_t seed = 0);

}  // namespace quern
