// Which weights stream, and the launches of their kernels.
#include <algorithm>

#include "backend/cuda/stream.h"

namespace quern::cuda {
namespace {

// Besides x, for the shallow variant of any kind: copies on their way and sums.
size_t largest_stream(const DeviceInfo& info) { return info.smem_per_block >= kTwoTilesSmem ? 78 * 1024 : 58 * 1024; }

StreamKernels kernels_of(const Weight& w) {
  if (w.layout != kGranules) return half_kernels();
  const GranuleFormat format = granule_format(w.parts[0].format);
  return format.bits == 8 ? byte_kernels(format) : nibble_kernels(format);
}

bool is_half(const Weight& w) {
  return w.layout == kScaledHalf ||
         (w.layout == kCanonical && std::ranges::all_of(w.parts, [](const Tensor& part) { return part.format == Format::f16; }));
}

}  // namespace

void set_weight(StreamArgs& args, const Weight& w) {
  size_t rows = 0;
  for (size_t i = 0; i < w.parts.size(); ++i) {
    rows += w.parts[i].rows();
    if (w.layout == kGranules) {
      const GranulePart part = granule_part(w, i);
      args.codes[i] = part.codes;
      args.scales[i] = part.scales;
    } else {
      args.codes[i] = w.parts[i].data;
    }
  }
  if (w.layout == kScaledHalf) args.factor = scaled_half_factor(w);
  args.columns = static_cast<int>(w.in_features());
  args.num_tiles = static_cast<int>(rows / 16);
}

bool streams(const Weight& w, StreamOp op, const DeviceInfo& info) {
  if (info.sm < 80 || w.in_features() % kUnitColumns != 0 || w.parts.size() > 3) return false;
  if (!is_half(w) && w.layout != kGranules) return false;
  const size_t multiple = op == StreamOp::gate_up ? 8 : 16;
  if (op == StreamOp::gate_up && (w.parts.size() != 2 || w.parts[0].rows() != w.parts[1].rows())) return false;
  if (op == StreamOp::linear && w.parts.size() != 1) return false;
  return std::ranges::all_of(w.parts, [&](const Tensor& part) { return part.rows() % multiple == 0; });
}

size_t stream_tokens(size_t columns, const DeviceInfo& info) {
  const size_t least = largest_stream(info);
  if (info.smem_per_block < least) return 0;
  return std::min(kMaxStreamTokens, (info.smem_per_block - least) / (columns * 2 + 64));
}

void launch_stream(const Weight& w, const StreamArgs& args, CudaStream& stream) { kernels_of(w).stream(args, stream); }
void launch_tiles(const Weight& w, const StreamArgs& args, CudaStream& stream) { kernels_of(w).tiles(args, stream); }

}  // namespace quern::cuda
