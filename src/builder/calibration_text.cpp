#include "builder/calibration_text.h"

// QUERN_CALIBRATION_TEXT: path of the file, from CMake.
asm(R"(
.section .rodata
.global quern_calibration_begin
.global quern_calibration_end
quern_calibration_begin:
.incbin ")" QUERN_CALIBRATION_TEXT R"("
quern_calibration_end:
.byte 0
.previous
)");

extern "C" {
extern const char quern_calibration_begin[];
extern const char quern_calibration_end[];
}

namespace quern {

std::string_view calibration_text() {
  return {quern_calibration_begin, static_cast<size_t>(quern_calibration_end - quern_calibration_begin)};
}

}  // namespace quern
