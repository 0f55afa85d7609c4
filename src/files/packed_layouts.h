// The layouts of quantized checkpoints that are read, one function each: they put the parts of every weight together.
#pragma once
#include <cstdint>
#include <map>
#include <string>

#include "base/json.h"
#include "files/packed_tensors.h"

namespace quern {

// By `quant_method` of a quantization_config. Throws incompatible with the list for another method, and naming the field for a setting that
// is not read; invalid_input for tensors that do not fit each other.
void join_packed_weights(std::map<std::string, SourceTensor>& tensors, const JsonFields& config, const std::string& folder);

void join_gptq(PackedTensors& tensors, const JsonFields& config);
void join_awq(PackedTensors& tensors, const JsonFields& config);
void join_float8(PackedTensors& tensors, const JsonFields& config);
void join_compressed(PackedTensors& tensors, const JsonFields& config);

// A field that is -1 (a whole row: `columns`) or a positive number.
uint64_t group_size_of(const JsonFields& config, const char* name);
inline constexpr uint64_t kWholeRow = 0;

// How many codes a 32-bit word holds, from `bits` 4 or 8; throws incompatible for others.
uint64_t packed_bits(const JsonFields& config, std::initializer_list<uint64_t> supported);

ScaleGrid scale_grid(const SourceTensor& tensor, uint64_t row_step, uint64_t group_step);

}  // namespace quern
