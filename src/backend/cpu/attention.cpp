// Rows of attention for each instruction set that has kernels. Query rows are cut into units (a KV head of a few tokens of one sequence).
// With many units each thread takes whole ones; with few, threads take chunks of the context and the chunks are merged in order.
#include <algorithm>

#include "backend/cpu/attention_product.h"
#include "backend/cpu/kernels.h"
#include "base/thread_pool.h"

namespace quern::cpu {
namespace {

constexpr size_t kEnoughUnits = 2;      // a thread: with fewer, chunks are shared out,
constexpr size_t kMostSharedRows = 32;  // a thread: as long as the rows are no more than this, which bounds the workspace

size_t heads_of(const AttentionArgs& a) { return a.q.columns() / static_cast<size_t>(a.kv.head_dim); }
size_t group_of(const AttentionArgs& a) { return heads_of(a) / static_cast<size_t>(a.kv.num_kv_heads); }
size_t unit_tokens(const AttentionArgs& a) { return std::max<size_t>(1, kUnitRows / group_of(a)); }
size_t unit_rows(const AttentionArgs& a) { return unit_tokens(a) * group_of(a); }
size_t num_chunks(size_t positions) { return (positions + kChunk - 1) / kChunk; }

size_t thread_floats(const AttentionArgs& a, const AttentionKernels& kernels) {
  const auto head_dim = static_cast<size_t>(a.kv.head_dim);
  return unit_rows(a) * head_dim + kernels.tile * (kChunk + head_dim) + unit_rows(a) * partial_floats(head_dim);
}

// Floats for the partials of all rows and chunks when chunks are shared out.
size_t shared_floats(const AttentionArgs& a, size_t rows) {
  return num_chunks(static_cast<size_t>(a.batch.max_context)) * rows * partial_floats(static_cast<size_t>(a.kv.head_dim));
}

// Tokens [begin, begin + tokens) of the batch, of one sequence, and one KV head.
struct Unit {
  size_t sequence, kv_head, begin, tokens;
};

class Attention {
 public:
  Attention(const AttentionArgs& a, const AttentionKernels& kernels, Stream& stream) : a_(a), kernels_(kernels), stream_(stream) {
    for (size_t s = 0; s < static_cast<size_t>(a.batch.num_sequences); ++s) num_units_ += units_of(s);
  }

  void run() {
    const size_t threads = stream_.info->num_threads, chunks = num_chunks(static_cast<size_t>(a_.batch.max_context));
    const size_t rows = a_.q.rows() * heads_of(a_);
    const bool is_even = a_.batch.num_sequences == 1 && num_units_ % threads == 0;  // whole units keep every thread as busy
    const bool shares_chunks = num_units_ < kEnoughUnits * threads && !is_even && chunks > 1 && rows <= kMostSharedRows * threads;
    const size_t needed = (threads * thread_floats(a_, kernels_) + (shares_chunks ? shared_floats(a_, rows) : 0)) * sizeof(float);
    CHECK(stream_.workspace_bytes >= needed, "workspace of {} bytes, want {}", stream_.workspace_bytes, needed);
    if (!shares_chunks) {
      stream_.pool->parallel_for(num_units_, 1, [&](size_t thread, size_t begin, size_t end) {
        for (size_t i = begin; i < end; ++i) {
          const Unit unit = unit_at(i);
          const AttentionUnit u = describe(unit, thread);
          const auto [first, last] = chunks_of(unit);
          attend(u, first, last);
          kernels_.finish(u);
        }
      });
      return;
    }
    float* shared = reinterpret_cast<float*>(stream_.workspace) + threads * thread_floats(a_, kernels_);  // [chunks][rows]
    const auto partials = [&](const Unit& unit, size_t chunk) {
      const size_t first_row = unit.begin * heads_of(a_) + unit.kv_head * unit.tokens * group_of(a_);
      return shared + (chunk * rows + first_row) * partial_floats(head_dim());
    };
    stream_.pool->parallel_for(num_units_ * chunks, 1, [&](size_t thread, size_t begin, size_t end) {
      for (size_t i = begin; i < end; ++i) {
        const Unit unit = unit_at(i / chunks);
        const auto [first, last] = chunks_of(unit);
        const size_t chunk = i % chunks;
        if (chunk < first || chunk >= last) continue;
        AttentionUnit u = describe(unit, thread);
        u.partials = partials(unit, chunk);
        attend(u, chunk, chunk + 1);
      }
    });
    stream_.pool->parallel_for(num_units_, 1, [&](size_t thread, size_t begin, size_t end) {
      for (size_t i = begin; i < end; ++i) {
        const Unit unit = unit_at(i);
        const auto [first, last] = chunks_of(unit);
        AttentionUnit u = describe(unit, thread);
        u.partials = partials(unit, first);
        for (size_t chunk = first + 1; chunk < last; ++chunk) kernels_.merge(u, partials(unit, chunk));
        kernels_.finish(u);
      }
    });
  }

 private:
  size_t head_dim() const { return static_cast<size_t>(a_.kv.head_dim); }
  size_t kv_heads() const { return static_cast<size_t>(a_.kv.num_kv_heads); }
  size_t query_start(size_t sequence) const { return static_cast<size_t>(a_.batch.query_start[sequence]); }
  size_t units_of(size_t sequence) const {
    const size_t tokens = query_start(sequence + 1) - query_start(sequence);
    return (tokens + unit_tokens(a_) - 1) / unit_tokens(a_) * kv_heads();
  }

  Unit unit_at(size_t index) const {
    const auto decode = static_cast<size_t>(a_.batch.num_decode);
    size_t s = std::min(index / kv_heads(), decode);  // a decode row is one unit a KV head
    index -= s * kv_heads();
    for (; index >= units_of(s); ++s) index -= units_of(s);
    const size_t begin = query_start(s) + index / kv_heads() * unit_tokens(a_);
    return {s, index % kv_heads(), begin, std::min(unit_tokens(a_), query_start(s + 1) - begin)};
  }

  // Chunks that some row of the unit sees.
  std::pair<size_t, size_t> chunks_of(const Unit& unit) const {
    const auto first = static_cast<size_t>(a_.batch.positions[unit.begin]),
               last = static_cast<size_t>(a_.batch.positions[unit.begin + unit.tokens - 1]);
    const auto window = static_cast<size_t>(a_.window);
    return {(window == 0 || first + 1 < window ? 0 : first + 1 - window) / kChunk, last / kChunk + 1};
  }

  AttentionUnit describe(const Unit& unit, size_t thread) const {
    const size_t head_bytes = static_cast<size_t>(a_.kv.block_tokens) * row_bytes(a_.kv.format, head_dim()), group = group_of(a_);
    const size_t column = unit.kv_head * group * head_dim();
    AttentionUnit u;
    u.q = a_.q.f32(unit.begin) + column;
    u.y = a_.y.f32(unit.begin) + column;
    u.stride = a_.q.columns();
    u.tokens = unit.tokens;
    u.group = group;
    u.head_dim = head_dim();
    u.positions = a_.batch.positions + unit.begin;
    u.window = static_cast<size_t>(a_.window);
    u.scale = a_.scale;
    u.k = a_.kv.k + unit.kv_head * head_bytes;
    u.v = a_.kv.v + unit.kv_head * head_bytes;
    u.blocks = a_.batch.block_tables + unit.sequence * static_cast<size_t>(a_.batch.block_table_stride);
    u.block_tokens = static_cast<size_t>(a_.kv.block_tokens);
    u.block_bytes = kv_heads() * head_bytes;
    u.queries = reinterpret_cast<float*>(stream_.workspace) + thread * thread_floats(a_, kernels_);
    u.scores = u.queries + unit_rows(a_) * head_dim();
    u.sums = u.scores + kernels_.tile * kChunk;
    u.partials = u.sums + kernels_.tile * head_dim();
    return u;
  }
  void attend(const AttentionUnit& u, size_t begin, size_t end) const { kernels_.attend[cache_index(a_.kv.format)](u, begin, end); }

  const AttentionArgs& a_;
  const AttentionKernels& kernels_;
  Stream& stream_;
  size_t num_units_ = 0;
};

bool takes(const AttentionArgs& a) {
  return a.kv.head_dim % 16 == 0 && a.kv.block_tokens % 16 == 0 && kChunk % static_cast<size_t>(a.kv.block_tokens) == 0 &&
         cache_index(a.kv.format) < kCacheFormats;
}

bool has_avx512(const DeviceInfo& info) { return info.avx512; }
bool has_avx2(const DeviceInfo& info) { return info.avx2; }
bool has_plain(const DeviceInfo&) { return true; }

template <const AttentionKernels& kKernels, bool (*kHas)(const DeviceInfo&)>
constexpr KernelRow<AttentionArgs> row(const char* name) {
  return {name, [](const AttentionArgs& a, const DeviceInfo& info) { return takes(a) && kHas(info); },
          [](const AttentionArgs& a, Stream& stream) { Attention(a, kKernels, stream).run(); },
          [](const AttentionArgs& a, const DeviceInfo& info) {
            const size_t most_rows = std::min(kMostSharedRows * info.num_threads, a.q.rows() * heads_of(a));
            return (info.num_threads * thread_floats(a, kKernels) + shared_floats(a, most_rows)) * sizeof(float);
          }};
}

constexpr KernelRow<AttentionArgs> kRows[] = {
#if defined(__x86_64__)
    row<kAttentionAvx512, has_avx512>("attention_avx512"),
    row<kAttentionAvx2, has_avx2>("attention_avx2"),
#endif
    row<kAttentionPlain, has_plain>("attention_plain"),
};

}  // namespace

std::span<const KernelRow<AttentionArgs>> attention_rows() { return kRows; }

}  // namespace quern::cpu
