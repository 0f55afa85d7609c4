// The rows that multiply by panels: linear, qkv, gate_up and head, for each instruction set that has panel kernels.
// An operation normalizes and rounds its rows once (one row: each thread for itself, which saves a meeting of the threads), then the
// threads share the panels. Rows beyond kRowBlock are done block by block, so that the workspace does not grow with them.
#include <algorithm>

#include "backend/cpu/kernels.h"
#include "backend/cpu/panel_product.h"
#include "backend/cpu/panels.h"
#include "backend/cpu/qkv_finish.h"
#include "backend/cpu/remainders.h"
#include "backend/cpu/row_tiles.h"
#include "base/thread_pool.h"

namespace quern::cpu {
namespace {

// Rows that are prepared at once: so many that they, and as many remainders as a third of them, stay in the second-level cache beside a
// stage of a panel. kRowStep: whole tiles of most instruction sets.
constexpr size_t kRowBlock = 504, kRowStep = 84, kRowBytes = 640 * 1024;
constexpr size_t kGrainBytes = 64 * 1024;  // of panels that a thread takes at once for few rows
constexpr size_t kPanelsAThread = 8;       // where there are so many, threads take two at once
constexpr size_t kGatherGroups = 8;        // whose remainders a thread gathers at once

// Whether x stays in float32 for weights of the format.
bool is_float(Format format) {
  return format == Format::f32 || format == Format::f16 || format == Format::bf16 || format == Format::f8g32 || format == Format::f8g128;
}

// What an operation multiplies: rows of x, normalized or not, by parts of equal width.
struct Input {
  const float* x = nullptr;
  const int32_t* row_ids = nullptr;
  size_t rows = 0, columns = 0;
  const float* norm = nullptr;
  float epsilon = 0;
  const Weight* w = nullptr;
  size_t products = 0;  // floats of further workspace a row
};

size_t row_block(const Input& in) {
  const bool wide = std::ranges::any_of(in.w->parts, [](const Tensor& part) { return is_float(part.format); });
  const size_t row_bytes = in.columns * (wide ? 4 : 2), steps = kRowBytes / std::max<size_t>(row_bytes, 1) / kRowStep;
  return std::clamp(steps * kRowStep, kRowStep, kRowBlock);
}

// Pieces of the workspace, 64-byte aligned; with a null base it only counts.
class Pieces {
 public:
  explicit Pieces(std::byte* base) : base_(base) {}
  template <class T>
  T* take(size_t count) {
    std::byte* piece = base_ == nullptr ? nullptr : base_ + used_;
    used_ += (count * sizeof(T) + 63) / 64 * 64;
    return reinterpret_cast<T*>(piece);
  }
  size_t used() const { return used_; }

 private:
  std::byte* base_;
  size_t used_ = 0;
};

struct ThreadSpace {
  PreparedRows row;  // where it prepares a single row for itself
  std::byte* stage = nullptr;
  float *y = nullptr, *up = nullptr, *rest = nullptr, *scratch = nullptr;
  bool* is_prepared = nullptr;
};

PreparedRows prepared_rows(const Input& in, const PanelKernels& kernels, size_t rows, Pieces& pieces) {
  PreparedRows p;
  p.rows = rows;
  p.columns = in.columns;
  p.padded_columns = (in.columns + kGroup - 1) / kGroup * kGroup;
  p.float_tile = kernels.float_tile;
  p.integer_tile = kernels.integer_tile;
  const auto has = [&](bool floats) {
    return std::ranges::any_of(in.w->parts, [&](const Tensor& part) { return is_float(part.format) == floats; });
  };
  if (has(true) && kernels.floats == FloatRows::tiles) {
    p.tile_pairs = pieces.take<uint32_t>((rows + kMostTile - 1) / kMostTile * kMostTile * num_tiles(p) * 16);
  } else if (has(true) && kernels.floats == FloatRows::pairs) {
    p.pairs = pieces.take<uint32_t>(rows * num_pairs(p));
  } else if (has(true)) {
    p.values = pieces.take<float>(rows * p.columns);
  }
  if (has(false)) {
    p.groups = pieces.take<RoundedGroup>(rows * num_groups(p) + kMostTile);
    p.remainders = pieces.take<RoundedGroup>(rows * remainders_a_row(p));
    if (rows > kernels.direct_tile) {
      p.gathered = pieces.take<RoundedGroup>(rows * num_groups(p) + kMostTile);
      p.gathered_counts = pieces.take<uint32_t>(num_groups(p));
    }
  }
  return p;
}

ThreadSpace thread_space(const Input& in, const PanelKernels& kernels, Pieces& pieces) {
  const size_t rows = std::min(in.rows, row_block(in));
  ThreadSpace space;
  space.row = prepared_rows(in, kernels, 1, pieces);
  space.stage = pieces.take<std::byte>(kStageBytes);
  const size_t whole_rows = (rows + kMostTile - 1) / kMostTile * kMostTile;  // units that multiply whole tiles write them
  space.y = pieces.take<float>(whole_rows * kLanes);
  space.up = pieces.take<float>(whole_rows * kLanes);
  space.rest = pieces.take<float>(2 * rows * kLanes);
  space.scratch = pieces.take<float>(std::min(rows, kernels.integer_tile) * (space.row.padded_columns));
  space.is_prepared = pieces.take<bool>(1);
  return space;
}

size_t workspace_size(const Input& in, const PanelKernels& kernels, const DeviceInfo& info) {
  const size_t rows = std::min(in.rows, row_block(in));
  Pieces pieces(nullptr), thread(nullptr);
  prepared_rows(in, kernels, rows, pieces);
  thread_space(in, kernels, thread);
  pieces.take<float>(rows * in.products);
  return pieces.used() + info.num_threads * thread.used();
}

// One operation at work.
class Product {
 public:
  Product(const Input& in, const PanelKernels& kernels, Stream& stream)
      : in_(in), kernels_(kernels), stream_(stream), pieces_(stream.workspace) {
    const size_t needed = workspace_size(in, kernels, *stream.info);
    CHECK(stream.workspace_bytes >= needed, "workspace of {} bytes, want {}", stream.workspace_bytes, needed);
    shared_ = prepared_rows(in, kernels, std::min(in.rows, row_block(in)), pieces_);
    products_ = pieces_.take<float>(std::min(in.rows, row_block(in)) * in.products);
    Pieces thread(nullptr);
    thread_space(in, kernels, thread);
    thread_bytes_ = thread.used();
    threads_ = pieces_.take<std::byte>(thread_bytes_ * info().num_threads);
  }

  float* products() const { return products_; }

  // Calls panels(space, rows, first row, first panel, how many: 1 or 2) for each block of rows and all of `count` panels of `bytes` bytes,
  // then after(first row, rows) for the block.
  template <class Panels, class After>
  void run(size_t count, size_t bytes, const Panels& panels, const After& after) {
    const size_t most = row_block(in_), blocks = std::max<size_t>(1, (in_.rows + most - 1) / most);
    const size_t block = (in_.rows + blocks - 1) / blocks;  // nearly equal
    for (size_t first = 0; first < in_.rows; first += block) {
      PreparedRows rows = shared_;
      rows.rows = std::min(block, in_.rows - first);
      // NOLINTNEXTLINE(clang-analyzer-core.NullDereference): null only where a workspace is planned, and nothing runs there
      for (size_t i = 0; i < info().num_threads; ++i) *space(i).is_prepared = false;
      if (rows.rows > 1) prepare_all(first, rows);
      const bool by_tiles = rows.rows > kernels_.direct_tile, in_twos = by_tiles && count >= kPanelsAThread * info().num_threads;
      const size_t grain = by_tiles ? (in_twos ? 2 : 1) : std::max<size_t>(1, kGrainBytes / bytes);
      stream_.pool->parallel_for(count, grain, [&](size_t thread, size_t begin, size_t end) {
        const ThreadSpace own = space(thread);
        if (rows.rows == 1 && !*own.is_prepared) {
          prepare(first, own.row, own, 0, 1);
          *own.is_prepared = true;
        }
        for (size_t i = begin; i < end; i += 2) panels(own, rows.rows == 1 ? own.row : rows, first, i, std::min<size_t>(2, end - i));
      });
      after(first, rows.rows);
    }
  }

  // space.y = rows . panel `index` of `part`; the same of another into space.up. The two are multiplied together where that is faster.
  void multiply(const ThreadSpace& space, const PreparedRows& rows, const Tensor& part, size_t index) const {
    kernels_.multiply[static_cast<size_t>(part.format)](task(space, rows, panel_of(part, index), space.y));
  }
  void multiply_two(const ThreadSpace& space, const PreparedRows& rows, const Tensor& part, size_t index, const Tensor& other,
                    size_t other_index) const {
    const auto two = kernels_.multiply_two[static_cast<size_t>(part.format)];
    PanelTask both = task(space, rows, panel_of(part, index), space.y);
    if (two != nullptr && part.format == other.format && rows.rows > kernels_.direct_tile) {
      both.second = panel_of(other, other_index);
      both.second_y = space.up;
      return two(both);
    }
    kernels_.multiply[static_cast<size_t>(part.format)](both);
    kernels_.multiply[static_cast<size_t>(other.format)](task(space, rows, panel_of(other, other_index), space.up));
  }
  void multiply(const ThreadSpace& space, const PreparedRows& rows, const Tensor& part, size_t index, size_t count) const {
    count == 2 ? multiply_two(space, rows, part, index, part, index + 1) : multiply(space, rows, part, index);
  }
  void store(const StoreTask& task) const { kernels_.store(task); }

 private:
  const DeviceInfo& info() const { return *stream_.info; }

  ThreadSpace space(size_t thread) const {
    Pieces pieces(threads_ + thread * thread_bytes_);
    return thread_space(in_, kernels_, pieces);
  }
  const std::byte* panel_of(const Tensor& part, size_t index) const { return part.data + index * panel_step(*in_.w, part); }
  static PanelTask task(const ThreadSpace& space, const PreparedRows& rows, const std::byte* panel, float* y) {
    return {.panel = panel, .rows = &rows, .stage = space.stage, .y = y, .rest = space.rest};
  }

  void prepare_all(size_t first, const PreparedRows& rows) const {
    const Tiles tiles(rows.rows, kernels_.integer_tile);
    stream_.pool->parallel_for(tiles.count, 1, [&](size_t thread, size_t begin, size_t end) {
      prepare(first, rows, space(thread), tiles.first(begin), tiles.first(end));
    });
    if (rows.groups == nullptr || rows.rows <= kernels_.direct_tile) return;
    stream_.pool->parallel_for(num_groups(rows), kGatherGroups, [&](size_t begin, size_t end) { gather_remainders(rows, begin, end); });
  }
  void prepare(size_t first, const PreparedRows& rows, const ThreadSpace& space, size_t begin, size_t end) const {
    kernels_.prepare({.x = in_.row_ids == nullptr ? in_.x + first * in_.columns : in_.x,
                      .row_ids = in_.row_ids == nullptr ? nullptr : in_.row_ids + first,
                      .norm = in_.norm,
                      .epsilon = in_.epsilon,
                      .scratch = space.scratch,
                      .rows = &rows,
                      .begin = begin,
                      .end = end});
  }

  const Input& in_;
  const PanelKernels& kernels_;
  Stream& stream_;
  Pieces pieces_;
  PreparedRows shared_;
  float* products_ = nullptr;
  std::byte* threads_ = nullptr;
  size_t thread_bytes_ = 0;
};

size_t lanes_of(const Tensor& part, size_t panel) { return std::min(kLanes, part.rows() - panel * kLanes); }
size_t bytes_of(const Tensor& part) { return panel_bytes(part.format, part.columns()); }

Input input(const LinearArgs& a) { return {.x = a.x.f32(), .rows = a.x.rows(), .columns = a.x.columns(), .w = a.w}; }
Input input(const QkvArgs& a) {
  return {.x = a.h.f32(),
          .rows = a.h.rows(),
          .columns = a.h.columns(),
          .norm = a.norm.f32(),
          .epsilon = a.norm_epsilon,
          .w = a.w,
          .products = a.w->out_features()};
}
Input input(const GateUpArgs& a) {
  return {.x = a.h.f32(), .rows = a.h.rows(), .columns = a.h.columns(), .norm = a.norm.f32(), .epsilon = a.norm_epsilon, .w = a.w};
}
Input input(const HeadArgs& a) {
  return {.x = a.h.f32(),
          .row_ids = a.batch.sample_rows,
          .rows = static_cast<size_t>(a.batch.num_sample_rows),
          .columns = a.h.columns(),
          .norm = a.norm.f32(),
          .epsilon = a.norm_epsilon,
          .w = a.w};
}

// Panel `panel` of all parts one after the other: which part's, which of its panels, and where the part's columns begin.
struct PartPanel {
  const Tensor* part;
  size_t index, first_column;
};
PartPanel part_panel(const Weight& w, size_t panel) {
  size_t column = 0, i = 0;
  for (; panel >= num_panels(w.parts[i]); ++i) {
    panel -= num_panels(w.parts[i]);
    column += w.parts[i].rows();
  }
  return {&w.parts[i], panel, column};
}

constexpr auto kNothing = [](size_t, size_t) {};

void run(const LinearArgs& a, const PanelKernels& kernels, Stream& stream) {
  const Tensor& w = a.w->parts[0];
  const Input in = input(a);
  Product product(in, kernels, stream);
  product.run(
      num_panels(w), bytes_of(w),
      [&](const ThreadSpace& space, const PreparedRows& rows, size_t first, size_t panel, size_t n) {
        product.multiply(space, rows, w, panel, n);
        for (size_t i = 0; i < n; ++i) {
          const size_t column = (panel + i) * kLanes;
          product.store({.y = i == 0 ? space.y : space.up,
                         .rows = rows.rows,
                         .lanes = lanes_of(w, panel + i),
                         .bias = a.bias ? a.bias.f32() + column : nullptr,
                         .residual = a.residual ? a.residual.f32(first) + column : nullptr,
                         .out = a.y.f32(first) + column,
                         .stride = w.rows()});
        }
      },
      kNothing);
}

void run(const QkvArgs& a, const PanelKernels& kernels, Stream& stream) {
  const Input in = input(a);
  Product product(in, kernels, stream);
  size_t count = 0;
  for (const Tensor& part : a.w->parts) count += num_panels(part);
  product.run(
      count, bytes_of(a.w->parts[0]),
      [&](const ThreadSpace& space, const PreparedRows& rows, size_t, size_t panel, size_t n) {
        const PartPanel one = part_panel(*a.w, panel), two = part_panel(*a.w, panel + n - 1);
        n == 2 ? product.multiply_two(space, rows, *one.part, one.index, *two.part, two.index)
               : product.multiply(space, rows, *one.part, one.index);
        for (size_t i = 0; i < n; ++i) {
          const PartPanel& at = i == 0 ? one : two;
          product.store({.y = i == 0 ? space.y : space.up,
                         .rows = rows.rows,
                         .lanes = lanes_of(*at.part, at.index),
                         .out = product.products() + at.first_column + at.index * kLanes,
                         .stride = in.products});
        }
      },
      [&](size_t first, size_t rows) {
        stream.pool->parallel_for(rows, 2, [&](size_t begin, size_t end) {
          for (size_t row = begin; row < end; ++row) finish_qkv_row(a, first + row, product.products() + row * in.products);
        });
      });
}

void run(const GateUpArgs& a, const PanelKernels& kernels, Stream& stream) {
  const Tensor &gate = a.w->parts[0], &up = a.w->parts[1];
  const Input in = input(a);
  Product product(in, kernels, stream);
  product.run(
      num_panels(gate), bytes_of(gate) + bytes_of(up),
      [&](const ThreadSpace& space, const PreparedRows& rows, size_t first, size_t panel, size_t n) {
        for (const size_t end = panel + n; panel < end; ++panel) {
          product.multiply_two(space, rows, gate, panel, up, panel);
          product.store({.y = space.y,
                         .up = space.up,
                         .rows = rows.rows,
                         .lanes = lanes_of(gate, panel),
                         .out = a.y.f32(first) + panel * kLanes,
                         .stride = gate.rows()});
        }
      },
      kNothing);
}

void run(const HeadArgs& a, const PanelKernels& kernels, Stream& stream) {
  const Tensor& w = a.w->parts[0];
  const Input in = input(a);
  Product product(in, kernels, stream);
  product.run(
      num_panels(w), bytes_of(w),
      [&](const ThreadSpace& space, const PreparedRows& rows, size_t first, size_t panel, size_t n) {
        product.multiply(space, rows, w, panel, n);
        for (size_t i = 0; i < n; ++i) {
          product.store({.y = i == 0 ? space.y : space.up,
                         .rows = rows.rows,
                         .lanes = lanes_of(w, panel + i),
                         .out = a.logits.f32(first) + (panel + i) * kLanes,
                         .stride = w.rows()});
        }
      },
      kNothing);
}

// Tiles have 16 rows whether they are used or not.
bool may_run_amx(const Weight& w, size_t rows, const DeviceInfo& info) {
  return info.amx && info.avx512_vnni && rows >= 8 &&
         std::ranges::none_of(w.parts, [](const Tensor& part) { return is_float(part.format); });
}
bool may_run_amx_bf16(const Weight& w, size_t, const DeviceInfo& info) {
  return info.amx && std::ranges::all_of(w.parts, [](const Tensor& part) { return part.format == Format::bf16; });
}
bool may_run_avx512_bf16(const Weight& w, size_t, const DeviceInfo& info) {
  return info.avx512_bf16 && std::ranges::all_of(w.parts, [](const Tensor& part) { return part.format == Format::bf16; });
}
bool may_run_avx512(const Weight& w, size_t, const DeviceInfo& info) {
  return std::ranges::all_of(w.parts, [&](const Tensor& part) { return is_float(part.format) ? info.avx512 : info.avx512_vnni; });
}
bool may_run_avx2(const Weight&, size_t, const DeviceInfo& info) { return info.avx2; }
bool may_run_plain(const Weight&, size_t, const DeviceInfo&) { return true; }

template <class Args>
constexpr const char* kRowNames[6] = {};
template <>
constexpr const char* kRowNames<LinearArgs>[6] = {"linear_amx",    "linear_amx_bf16", "linear_avx512_bf16",
                                                  "linear_avx512", "linear_avx2",     "linear_plain"};
template <>
constexpr const char* kRowNames<QkvArgs>[6] = {"qkv_amx", "qkv_amx_bf16", "qkv_avx512_bf16", "qkv_avx512", "qkv_avx2", "qkv_plain"};
template <>
constexpr const char* kRowNames<GateUpArgs>[6] = {"gate_up_amx",    "gate_up_amx_bf16", "gate_up_avx512_bf16",
                                                  "gate_up_avx512", "gate_up_avx2",     "gate_up_plain"};
template <>
constexpr const char* kRowNames<HeadArgs>[6] = {"head_amx", "head_amx_bf16", "head_avx512_bf16", "head_avx512", "head_avx2", "head_plain"};

// The row of `Args` that multiplies with `kKernels` where `kMayRun` allows it.
template <class Args, const PanelKernels& kKernels, bool (*kMayRun)(const Weight&, size_t, const DeviceInfo&)>
constexpr KernelRow<Args> row(const char* name) {
  return {name, [](const Args& a, const DeviceInfo& info) { return a.w->layout == kPanels && kMayRun(*a.w, input(a).rows, info); },
          [](const Args& a, Stream& stream) { run(a, kKernels, stream); },
          [](const Args& a, const DeviceInfo& info) { return workspace_size(input(a), kKernels, info); }};
}

// Fastest first. Elsewhere than on x86-64 there is the plain one only.
template <class Args>
constexpr KernelRow<Args> kRows[] = {
#if defined(__x86_64__)
    row<Args, kPanelsAmx, may_run_amx>(kRowNames<Args>[0]),
    row<Args, kPanelsAmxBf16, may_run_amx_bf16>(kRowNames<Args>[1]),
    row<Args, kPanelsAvx512Bf16, may_run_avx512_bf16>(kRowNames<Args>[2]),
    row<Args, kPanelsAvx512, may_run_avx512>(kRowNames<Args>[3]),
    row<Args, kPanelsAvx2, may_run_avx2>(kRowNames<Args>[4]),
#endif
    row<Args, kPanelsPlain, may_run_plain>(kRowNames<Args>[5]),
};

}  // namespace

std::span<const KernelRow<LinearArgs>> linear_panel_rows() { return kRows<LinearArgs>; }
std::span<const KernelRow<QkvArgs>> qkv_panel_rows() { return kRows<QkvArgs>; }
std::span<const KernelRow<GateUpArgs>> gate_up_panel_rows() { return kRows<GateUpArgs>; }
std::span<const KernelRow<HeadArgs>> head_panel_rows() { return kRows<HeadArgs>; }

}  // namespace quern::cpu
