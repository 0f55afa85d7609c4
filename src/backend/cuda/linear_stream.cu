// Rows for few tokens: <op>_stream (one kernel, a block norms its input itself) and <op>_tiles (sm_90; the norm is a launch of its own).
// Both give the same bits for a token, whatever shares the call. Where a layer's heads have norms of their own, or rope turns a part
// of the head, qkv leaves plain sums and a second launch finishes them.
#include <algorithm>

#include "backend/cuda/kernels.h"
#include "backend/cuda/pieces.h"
#include "backend/cuda/stream.h"

namespace quern::cuda {
namespace {

// Beyond this a stream block would keep the next kernel's from starting on its multiprocessor.
constexpr size_t kStreamInputBytes = 56 * 1024;
// More rows go in chunks of kMaxTileTokens: integer weights are read again for less than f16 copies of them would cost.
constexpr size_t kMaxIntegerTokens = 256;

bool fits_stream(size_t tokens, size_t columns, const DeviceInfo& info) {
  if (info.sm < 90) return tokens <= kMaxTileTokens && stream_tokens(columns, info) > 0;
  return tokens <= stream_tokens(columns, info) && tokens * (columns * 2 + 64) <= kStreamInputBytes;
}
bool fits_tiles(const Weight& w, size_t tokens, const DeviceInfo& info) {
  return info.sm >= 90 && tokens <= (w.layout == kGranules ? kMaxIntegerTokens : kMaxTileTokens);
}

const float* floats(const Tensor& t) { return reinterpret_cast<const float*>(t.data); }
size_t half_bytes(size_t rows, size_t columns) { return Workspace::aligned(rows * columns * 2); }

template <class Launch>
void in_chunks(StreamArgs args, size_t tokens, size_t at_once, const Launch& launch) {
  for (size_t first = 0; first < tokens; first += at_once) {
    args.first_token = static_cast<int>(first);
    args.num_tokens = static_cast<int>(std::min(at_once, tokens - first));
    launch(args);
  }
}
void stream_all(const Weight& w, const StreamArgs& args, size_t tokens, CudaStream& stream) {
  in_chunks(args, tokens, stream_tokens(w.in_features(), *stream.info), [&](const StreamArgs& chunk) { launch_stream(w, chunk, stream); });
}
void tile_all(const Weight& w, const StreamArgs& args, size_t tokens, CudaStream& stream) {
  in_chunks(args, tokens, kMaxTileTokens, [&](const StreamArgs& chunk) { launch_tiles(w, chunk, stream); });
}

// `rows` of h, normed, as f16 in the workspace: the input of a tile kernel.
void norm_into(StreamArgs& args, size_t tokens, const Tensor& h, const int32_t* rows, const Tensor& norm, float epsilon,
               Workspace& workspace, CudaStream& stream) {
  const Tensor x = {reinterpret_cast<std::byte*>(workspace.take<uint16_t>(tokens * h.columns())),
                    {tokens, h.columns()},
                    Format::f16,
                    h.device,
                    kCanonical};
  launch_norm(h, rows, norm, epsilon, x, stream);
  args.x = reinterpret_cast<const uint16_t*>(x.data);
}
void set_norm(StreamArgs& args, const Tensor& h, const int32_t* rows, const Tensor& norm, float epsilon) {
  args.h = floats(h);
  args.h_rows = rows;
  args.norm = floats(norm);
  args.epsilon = epsilon;
}

StreamArgs args_of(const LinearArgs& a) {
  StreamArgs args;
  set_weight(args, *a.w);
  args.x = reinterpret_cast<const uint16_t*>(a.x.data);
  args.y = a.y.data;
  args.y_format = a.y.format;
  args.y_stride = static_cast<int>(a.y.columns());
  args.bias = floats(a.bias);
  args.residual = floats(a.residual);
  return args;
}
StreamArgs args_of(const GateUpArgs& a) {
  StreamArgs args;
  set_weight(args, *a.w);
  args.op = StreamOp::gate_up;
  args.y = a.y.data;
  args.y_format = a.y.format;
  args.y_stride = static_cast<int>(a.y.columns());
  return args;
}
StreamArgs args_of(const HeadArgs& a) {
  StreamArgs args;
  set_weight(args, *a.w);
  args.y = a.logits.data;
  args.y_stride = static_cast<int>(a.logits.columns());
  return args;
}
bool finishes_apart(const QkvArgs& a) { return a.q_norm || a.k_norm || a.rope.rotary_dims != a.kv.head_dim; }
StreamArgs args_of(const QkvArgs& a) {
  StreamArgs args;
  set_weight(args, *a.w);
  args.op = StreamOp::qkv;
  args.y = a.q.data;
  args.y_format = a.q.format;
  args.y_stride = static_cast<int>(a.q.columns());
  args.bias = floats(a.bias);
  args.rope = a.rope;
  args.positions = a.batch.positions;
  args.slots = a.batch.slots;
  args.rope_variants = a.batch.rope_variants;
  args.kv = a.kv;
  args.num_heads = static_cast<int>(a.q.columns()) / a.kv.head_dim;
  return args;
}

bool streams(const LinearArgs& a, const DeviceInfo& info) { return streams(*a.w, StreamOp::linear, info) && a.x.format == Format::f16; }
bool streams(const GateUpArgs& a, const DeviceInfo& info) { return streams(*a.w, StreamOp::gate_up, info); }
bool streams(const HeadArgs& a, const DeviceInfo& info) { return streams(*a.w, StreamOp::linear, info); }
bool streams(const QkvArgs& a, const DeviceInfo& info) {
  const auto head_dim = static_cast<size_t>(a.kv.head_dim);
  return streams(*a.w, StreamOp::qkv, info) && a.w->parts.size() == 3 && head_dim % 16 == 0 && a.w->parts[1].rows() % head_dim == 0;
}

// Runs qkv with `run(args, tokens)`, and the finish apart where it must be.
template <class Run>
void run_qkv(const QkvArgs& a, Workspace& workspace, CudaStream& stream, const Run& run) {
  StreamArgs args = args_of(a);
  if (!finishes_apart(a)) return run(args);
  const size_t tokens = a.h.rows(), features = a.w->out_features();
  const Tensor products = {
      reinterpret_cast<std::byte*>(workspace.take<float>(tokens * features)), {tokens, features}, Format::f32, a.h.device, kCanonical};
  args.op = StreamOp::products;
  args.y = products.data;
  args.y_format = Format::f32;
  args.y_stride = static_cast<int>(features);
  run(args);
  launch_qkv_finish(a, products, nullptr, stream);
}
size_t products_bytes(const QkvArgs& a) {
  return finishes_apart(a) ? Workspace::aligned(a.h.rows() * a.w->out_features() * sizeof(float)) : 0;
}

size_t sample_rows(const HeadArgs& a) { return static_cast<size_t>(a.batch.num_sample_rows); }

}  // namespace

const KernelRow<LinearArgs> kLinearStream = {
    "linear_stream",
    [](const LinearArgs& a, const DeviceInfo& info) { return streams(a, info) && fits_stream(a.x.rows(), a.x.columns(), info); },
    [](const LinearArgs& a, Stream& stream) { stream_all(*a.w, args_of(a), a.x.rows(), cuda_stream(stream)); }};
const KernelRow<LinearArgs> kLinearTiles = {
    "linear_tiles", [](const LinearArgs& a, const DeviceInfo& info) { return streams(a, info) && fits_tiles(*a.w, a.x.rows(), info); },
    [](const LinearArgs& a, Stream& stream) { tile_all(*a.w, args_of(a), a.x.rows(), cuda_stream(stream)); }};

const KernelRow<GateUpArgs> kGateUpStream = {
    "gate_up_stream",
    [](const GateUpArgs& a, const DeviceInfo& info) { return streams(a, info) && fits_stream(a.h.rows(), a.h.columns(), info); },
    [](const GateUpArgs& a, Stream& stream) {
      StreamArgs args = args_of(a);
      set_norm(args, a.h, nullptr, a.norm, a.norm_epsilon);
      stream_all(*a.w, args, a.h.rows(), cuda_stream(stream));
    }};
const KernelRow<GateUpArgs> kGateUpTiles = {
    "gate_up_tiles", [](const GateUpArgs& a, const DeviceInfo& info) { return streams(a, info) && fits_tiles(*a.w, a.h.rows(), info); },
    [](const GateUpArgs& a, Stream& stream) {
      Workspace workspace(stream);
      StreamArgs args = args_of(a);
      norm_into(args, a.h.rows(), a.h, nullptr, a.norm, a.norm_epsilon, workspace, cuda_stream(stream));
      tile_all(*a.w, args, a.h.rows(), cuda_stream(stream));
    },
    [](const GateUpArgs& a, const DeviceInfo&) { return half_bytes(a.h.rows(), a.h.columns()); }};

const KernelRow<HeadArgs> kHeadStream = {
    "head_stream",
    [](const HeadArgs& a, const DeviceInfo& info) { return streams(a, info) && fits_stream(sample_rows(a), a.h.columns(), info); },
    [](const HeadArgs& a, Stream& stream) {
      StreamArgs args = args_of(a);
      set_norm(args, a.h, a.batch.sample_rows, a.norm, a.norm_epsilon);
      stream_all(*a.w, args, sample_rows(a), cuda_stream(stream));
    }};
const KernelRow<HeadArgs> kHeadTiles = {
    "head_tiles", [](const HeadArgs& a, const DeviceInfo& info) { return streams(a, info) && fits_tiles(*a.w, sample_rows(a), info); },
    [](const HeadArgs& a, Stream& stream) {
      Workspace workspace(stream);
      StreamArgs args = args_of(a);
      norm_into(args, sample_rows(a), a.h, a.batch.sample_rows, a.norm, a.norm_epsilon, workspace, cuda_stream(stream));
      tile_all(*a.w, args, sample_rows(a), cuda_stream(stream));
    },
    [](const HeadArgs& a, const DeviceInfo&) { return half_bytes(sample_rows(a), a.h.columns()); }};

const KernelRow<QkvArgs> kQkvStream = {
    "qkv_stream", [](const QkvArgs& a, const DeviceInfo& info) { return streams(a, info) && fits_stream(a.h.rows(), a.h.columns(), info); },
    [](const QkvArgs& a, Stream& stream) {
      Workspace workspace(stream);
      run_qkv(a, workspace, cuda_stream(stream), [&](StreamArgs& args) {
        set_norm(args, a.h, nullptr, a.norm, a.norm_epsilon);
        stream_all(*a.w, args, a.h.rows(), cuda_stream(stream));
      });
    },
    [](const QkvArgs& a, const DeviceInfo&) { return products_bytes(a); }};
const KernelRow<QkvArgs> kQkvTiles = {
    "qkv_tiles", [](const QkvArgs& a, const DeviceInfo& info) { return streams(a, info) && fits_tiles(*a.w, a.h.rows(), info); },
    [](const QkvArgs& a, Stream& stream) {
      Workspace workspace(stream);
      run_qkv(a, workspace, cuda_stream(stream), [&](StreamArgs& args) {
        norm_into(args, a.h.rows(), a.h, nullptr, a.norm, a.norm_epsilon, workspace, cuda_stream(stream));
        tile_all(*a.w, args, a.h.rows(), cuda_stream(stream));
      });
    },
    [](const QkvArgs& a, const DeviceInfo&) { return products_bytes(a) + half_bytes(a.h.rows(), a.h.columns()); }};

}  // namespace quern::cuda
