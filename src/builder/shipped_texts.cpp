#include "builder/shipped_texts.h"

// QUERN_CALIBRATION_TEXT and QUERN_QUALITY_TEXT: paths of the files, from CMake.
asm(R"(
.section .rodata
.global quern_calibration_begin
.global quern_calibration_end
quern_calibration_begin:
.incbin ")" QUERN_CALIBRATION_TEXT R"("
quern_calibration_end:
.byte 0
.global quern_quality_begin
.global quern_quality_end
quern_quality_begin:
.incbin ")" QUERN_QUALITY_TEXT R"("
quern_quality_end:
.byte 0
.previous
)");

extern "C" {
extern const char quern_calibration_begin[];
extern const char quern_calibration_end[];
extern const char quern_quality_begin[];
extern const char quern_quality_end[];
}

namespace quern {

std::string_view calibration_text() {
  return {quern_calibration_begin, static_cast<size_t>(quern_calibration_end - quern_calibration_begin)};
}

std::string_view quality_text() { return {quern_quality_begin, static_cast<size_t>(quern_quality_end - quern_quality_begin)}; }

}  // namespace quern
