// Which instruction sets this process may use: present in the processor, enabled by the system, not forced off.
#pragma once
#include <string>
#include <string_view>

namespace quern {

struct CpuFeatures {
  bool avx2 = false;    // with FMA and F16C
  bool avx512 = false;  // F, BW, VL and DQ
  bool avx512_vnni = false;
  bool avx512_bf16 = false;  // and faster than f32
  bool amx = false;          // tiles with int8 and bf16, and the kernel's permission to use them

  std::string text() const;  // "avx2 avx512 vnni bf16", or "baseline"
};

// By CPUID and XCR0. All false on other architectures.
CpuFeatures detect_cpu_features();

// `features` without those named in `off` ("avx512,vnni"); what builds on one that is off is off too. Throws usage, naming `where`
// and the known names, for any other name.
CpuFeatures without(CpuFeatures features, std::string_view off, std::string_view where);

// "AMD EPYC", as the processor names itself; "CPU" when it does not.
std::string cpu_name();

}  // namespace quern
