#include "backend/cpu/features.h"

#include <sys/syscall.h>
#include <unistd.h>

#include <cstdint>
#include <cstring>

#include "base/error.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace quern {

#if defined(__x86_64__)
namespace {

struct Registers {
  uint32_t a = 0, b = 0, c = 0, d = 0;
};

Registers cpuid(uint32_t leaf, uint32_t subleaf = 0) {
  Registers r;
  if (__get_cpuid_max(leaf & 0x80000000U, nullptr) < leaf) return r;
  __cpuid_count(leaf, subleaf, r.a, r.b, r.c, r.d);
  return r;
}

bool bit(uint32_t value, int index) { return (value >> index & 1) != 0; }

// The register states that the system saves on a context switch (XCR0).
uint64_t saved_states() {
  if (!bit(cpuid(1).c, 27)) return 0;  // OSXSAVE
  uint32_t low = 0, high = 0;
  asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return uint64_t{high} << 32 | low;
}

bool is_intel() {
  const Registers r = cpuid(0);
  return r.b == 0x756e6547 && r.d == 0x49656e69 && r.c == 0x6c65746e;  // "GenuineIntel"
}

bool request_amx() {
  constexpr int kRequestPermission = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}

}  // namespace

CpuFeatures detect_cpu_features() {
  constexpr uint64_t kYmm = 0x6, kZmm = 0xe6, kTiles = 0x60000;
  const uint64_t states = saved_states();
  const Registers one = cpuid(1), seven = cpuid(7);
  CpuFeatures f;
  f.avx2 = (states & kYmm) == kYmm && bit(one.c, 28) && bit(one.c, 12) && bit(one.c, 29) && bit(seven.b, 5);
  f.avx512 = f.avx2 && (states & kZmm) == kZmm && bit(seven.b, 16) && bit(seven.b, 17) && bit(seven.b, 30) && bit(seven.b, 31);
  f.avx512_vnni = f.avx512 && bit(seven.c, 11);
  // AMD's processors multiply pairs of bf16 at twice the rate of f32, Intel's at half of it (docs/performance.md).
  f.avx512_bf16 = f.avx512 && seven.a >= 1 && bit(cpuid(7, 1).a, 5) && !is_intel();
  f.amx = f.avx512 && (states & kTiles) == kTiles && bit(seven.d, 22) && bit(seven.d, 24) && bit(seven.d, 25) && request_amx();
  return f;
}

std::string cpu_name() {
  char name[49] = {};
  for (uint32_t i = 0; i < 3; ++i) {
    const Registers r = cpuid(0x80000002U + i);
    std::memcpy(name + i * 16, &r, 16);
  }
  std::string_view text(name);
  while (text.starts_with(' ')) text.remove_prefix(1);
  while (text.ends_with(' ')) text.remove_suffix(1);
  return text.empty() ? "CPU" : escaped(text);
}
#else
CpuFeatures detect_cpu_features() { return {}; }
std::string cpu_name() { return "CPU"; }
#endif

std::string CpuFeatures::text() const {
  std::string text;
  for (const auto& [on, name] : {std::pair(avx2, "avx2"), {avx512, "avx512"}, {avx512_vnni, "vnni"}, {avx512_bf16, "bf16"}, {amx, "amx"}}) {
    if (!on) continue;
    if (!text.empty()) text += ' ';
    text += name;
  }
  return text.empty() ? "baseline" : text;
}

CpuFeatures without(CpuFeatures f, std::string_view off, std::string_view where) {
  while (!off.empty()) {
    const std::string_view name = off.substr(0, off.find(','));
    off.remove_prefix(std::min(off.size(), name.size() + 1));
    if (name == "avx2") {
      f.avx2 = false;
    } else if (name == "avx512") {
      f.avx512 = false;
    } else if (name == "vnni") {
      f.avx512_vnni = false;
    } else if (name == "bf16") {
      f.avx512_bf16 = false;
    } else if (name == "amx") {
      f.amx = false;
    } else {
      raise(usage, "{}: want names of avx2, avx512, vnni, bf16, amx with commas between, found {}", where, escaped(name));
    }
  }
  f.avx512 &= f.avx2;
  f.avx512_vnni &= f.avx512;
  f.avx512_bf16 &= f.avx512;
  f.amx &= f.avx512;
  return f;
}

}  // namespace quern
