// Products of few rows with weights that are read once from memory, in the layouts canonical f16, scaled_half and granules: what their
// kernels are told. The order of every sum depends on the weight's shape alone: K is cut into kSlices slices of whole units, each slice
// is summed by matrix instructions from its first column to its last, and the slices are added as ((01 + 23) + 45) + 67.
#pragma once
#include <cstdint>

#include "backend/cuda/cuda_stream.h"
#include "backend/cuda/layouts.h"

namespace quern::cuda {

inline constexpr int kSlices = 8, kUnitColumns = 128;
inline constexpr size_t kMaxStreamTokens = 8, kMaxTileTokens = 64;
inline constexpr size_t kTwoTilesSmem = 160 * 1024;  // of a block, from which on integer weights are streamed two tiles at a time

// What happens to the sums.
enum class StreamOp : uint8_t {
  linear,    // y = sum (+ bias) (+ residual)
  gate_up,   // y = silu(gate) * up
  qkv,       // bias, rope, query scale, into the cache
  products,  // the plain sums of all parts, side by side
};

struct StreamArgs {
  StreamOp op = StreamOp::linear;
  // The weight: where codes (or f16 rows) and scales of each part begin.
  const std::byte* codes[3] = {};
  const std::byte* scales[3] = {};
  const float* factor = nullptr;  // of all sums; null: 1
  int columns = 0;
  int num_tiles = 0;  // of 16 rows

  int num_tokens = 0, first_token = 0;  // rows of this launch, and where they begin in the operation's tensors
  // Input: x, or h to be normed. Row m of the launch is row first_token + m of x, or h_rows[first_token + m] of h.
  const uint16_t* x = nullptr;
  const float* h = nullptr;
  const int32_t* h_rows = nullptr;
  const float* norm = nullptr;
  float epsilon = 0;

  void* y = nullptr;
  Format y_format = Format::f32;
  int y_stride = 0;
  const float* bias = nullptr;
  const float* residual = nullptr;

  RopeView rope;
  const int32_t *positions = nullptr, *slots = nullptr, *rope_variants = nullptr;
  KvView kv;
  int num_heads = 0;
};

// Sets the weight's part of `args`.
void set_weight(StreamArgs& args, const Weight& w);

// Whether the stream kernels take this weight, for `op`.
bool streams(const Weight& w, StreamOp op, const DeviceInfo& info);

// Tokens of a weight with `columns` columns that one launch of the stream kernel takes on this device; 0: none.
size_t stream_tokens(size_t columns, const DeviceInfo& info);

// One launch for up to stream_tokens() rows, the input being normed by every block for itself.
void launch_stream(const Weight& w, const StreamArgs& args, CudaStream& stream);
// One launch for up to kMaxTileTokens rows of x; sm_90.
void launch_tiles(const Weight& w, const StreamArgs& args, CudaStream& stream);

// The kernels of one kind of weight; defined in stream_<kind>.cu.
struct StreamKernels {
  void (*stream)(const StreamArgs& args, CudaStream& stream);
  void (*tiles)(const StreamArgs& args, CudaStream& stream);
};
StreamKernels half_kernels();
StreamKernels byte_kernels(GranuleFormat format);
StreamKernels nibble_kernels(GranuleFormat format);

}  // namespace quern::cuda
