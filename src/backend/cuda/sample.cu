// Draws one token a row, one block a row, as backend/ops/ops.h says; the CPU's rows give the same tokens. The largest logit of every 64
// bounds where candidates can be, so that after the first pass few logits are read again. Greedy rows are one pass.
#include "backend/cuda/kernels.h"
#include "backend/cuda/launch.h"
#include "backend/cuda/sample_search.cuh"

namespace quern::cuda {
namespace {

constexpr int kMaxCandidates = 1024;  // sorted in shared memory
constexpr int kShortTopK = 256;       // a top_k up to here is sorted instead of searched
constexpr size_t kRowsAtOnce = 64;    // rows of a launch: their original logits are kept in the workspace

struct SampleKernelArgs {
  float* logits;
  int columns, count;
  const SampleRow* rows;
  const TokenCount* counts;
  const TokenBias* biases;
  const uint32_t* allowed;
  int32_t* token_ids;
  float* logprobs;
  int32_t* top_ids;
  float* top_logprobs;
  float* originals;  // [rows, columns], of the tokens that are changed
};

struct Shared {
  Token tokens[kSampleWarps];
  Sums sums[kSampleWarps];
  double doubles[kSampleWarps];
  int ints[kSampleWarps];
  Token candidates[kMaxCandidates];
  int num_candidates;
};

QUERN_DEVICE Token first_of(const SampleView& row, Shared& shared, float least) {
  Token best = {-INFINITY, 0x7fffffff};
  row.each(least, [&](int id, float logit) {
    const Token token = {logit, id};
    if (is_before(token, best)) best = token;
  });
  return reduce_block(best, shared.tokens, [](const Token& a, const Token& b) { return is_before(b, a) ? b : a; });
}

// Fills row.maxima and row.largest. Whether every logit is finite.
QUERN_DEVICE bool find_maxima(SampleView& row, Shared& shared) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp, warp = static_cast<int>(threadIdx.x) / kWarp;
  uint32_t magnitude = 0;
  float most = -INFINITY;
  for (int block = warp; block < row.blocks; block += kSampleWarps) {
    float largest = -INFINITY;
    for (int id = block * kSampleBlock + lane; id < min(row.count, (block + 1) * kSampleBlock); id += kWarp) {
      const float logit = load_l2(row.logits + id);
      magnitude = max(magnitude, __float_as_uint(logit) & 0x7fffffffU);
      largest = fmaxf(largest, logit);
    }
    largest = warp_max(largest);
    if (lane == 0) row.maxima[block] = largest;
    most = fmaxf(most, largest);
  }
  row.largest = reduce_block(most, reinterpret_cast<float*>(shared.tokens), [](float a, float b) { return fmaxf(a, b); });
  return reduce_block(static_cast<int>(magnitude), shared.ints, [](int a, int b) { return max(a, b); }) < 0x7f800000;
}

// The `wanted` most preferred tokens, sorted, in shared.candidates; returns how many there are. wanted <= kShortTopK.
QUERN_DEVICE int sort_candidates(const SampleView& row, Shared& shared, int wanted) {
  const int thread = static_cast<int>(threadIdx.x);
  // A cut that keeps exactly the wanted ones, unless there are not as many.
  const SampleCut all = {0, 0x7fffffff};
  const SampleCut cut = wanted >= row.count ? all
                                            : search_cut(
                                                  row, all, static_cast<double>(wanted), [](float) { return 1.0; }, shared.sums);
  if (thread == 0) shared.num_candidates = 0;
  sync_block();
  row.each(logit_of_key(max(cut.key, order_key(-INFINITY))), [&](int id, float logit) {
    if (logit == -INFINITY || !cut.keeps(order_key(logit), id)) return;
    const int at = atomic_add(&shared.num_candidates, 1);
    if (at < kMaxCandidates) shared.candidates[at] = {logit, id};
  });
  sync_block();
  const int found = min(shared.num_candidates, kMaxCandidates);
  int size = 1;
  while (size < found) size *= 2;
  for (int i = found + thread; i < size; i += kSampleThreads) shared.candidates[i] = {-INFINITY, 0x7fffffff};
  sync_block();
  for (int width = 2; width <= size; width *= 2) {  // bitonic: the order in which candidates came does not matter
    for (int distance = width / 2; distance > 0; distance /= 2) {
      for (int i = thread; i < size; i += kSampleThreads) {
        const int other = i ^ distance;
        if (other > i && is_before(shared.candidates[other], shared.candidates[i]) == ((i & width) == 0)) {
          const Token token = shared.candidates[i];
          shared.candidates[i] = shared.candidates[other];
          shared.candidates[other] = token;
        }
      }
      sync_block();
    }
  }
  return min(found, wanted);
}

// Bias and bans, mask, penalties; what changes is kept in `originals` first.
QUERN_DEVICE void modify(const SampleKernelArgs& a, const SampleRow& r, float* logits, float* originals) {
  const int thread = static_cast<int>(threadIdx.x);
  for (int i = r.biases_begin + thread; i < r.biases_end; i += kSampleThreads) originals[a.biases[i].token] = logits[a.biases[i].token];
  for (int i = r.counts_begin + thread; i < r.counts_end; i += kSampleThreads) originals[a.counts[i].token] = logits[a.counts[i].token];
  sync_block();
  for (int i = r.biases_begin + thread; i < r.biases_end; i += kSampleThreads) atomic_add(&logits[a.biases[i].token], a.biases[i].bias);
  sync_block();
  if (r.allowed_row >= 0) {
    const uint32_t* const allowed = a.allowed + static_cast<size_t>(r.allowed_row) * static_cast<size_t>((a.columns + 31) / 32);
    for (int id = thread; id < a.count; id += kSampleThreads) {
      if ((allowed[id / 32] >> (id % 32) & 1) == 0) logits[id] = -INFINITY;
    }
    sync_block();
  }
  for (int i = r.counts_begin + thread; i < r.counts_end; i += kSampleThreads) {
    const TokenCount count = a.counts[i];
    float logit = logits[count.token];
    if (r.repetition_penalty != 1 && (count.in_prompt > 0 || count.in_output > 0)) {
      logit = logit > 0 ? logit / r.repetition_penalty : logit * r.repetition_penalty;
    }
    if (count.in_output > 0) logit -= r.presence_penalty + r.frequency_penalty * static_cast<float>(count.in_output);
    logits[count.token] = fminf(logit, 3.402823466e38F);
  }
  sync_block();
}

// The model's logit of a token, before it was changed.
QUERN_DEVICE float original(const SampleKernelArgs& a, const SampleRow& r, const float* logits, const float* originals, int32_t token,
                            Shared& shared) {
  int found = 0;
  for (int i = r.biases_begin + static_cast<int>(threadIdx.x); i < r.biases_end; i += kSampleThreads)
    found |= a.biases[i].token == token ? 1 : 0;
  for (int i = r.counts_begin + static_cast<int>(threadIdx.x); i < r.counts_end; i += kSampleThreads)
    found |= a.counts[i].token == token ? 1 : 0;
  found = reduce_block(found, shared.ints, [](int x, int y) { return x | y; });
  return found != 0 ? originals[token] : logits[token];
}

struct Racer {
  double time;
  int32_t id;
};
QUERN_DEVICE bool is_faster(const Racer& a, const Racer& b) { return a.time < b.time || (a.time == b.time && a.id < b.id); }

QUERN_DEVICE int32_t race(const SampleView& row, const SampleRow& r, const SampleCut& cut, Shared& shared) {
  const Token first = first_of(row, shared, row.largest);
  Racer best = {exponential(sample_word(r.seed, r.position, first.id)), first.id};  // its weight is 1
  // An exponential variable is at least its word's number, which is at least half of 2^-32.
  row.each(logit_of_key(max(cut.key, order_key(-INFINITY))), [&](int id, float logit) {
    const float weight = row.weight(logit);
    if (weight < r.min_p || 0x1p-33 >= best.time * static_cast<double>(weight) || !cut.keeps(order_key(logit), id)) return;
    const uint32_t word = sample_word(r.seed, r.position, id);
    if (unit_interval(word) >= best.time * static_cast<double>(weight)) return;
    const Racer racer = {exponential(word) / static_cast<double>(weight), id};
    if (is_faster(racer, best)) best = racer;
  });
  auto* const scratch = reinterpret_cast<Racer*>(shared.sums);
  return reduce_block(best, scratch, [](const Racer& a, const Racer& b) { return is_faster(b, a) ? b : a; }).id;
}

QUERN_DEVICE int32_t draw_among(const SampleView& row, const SampleRow& r, int found, Shared& shared) {
  __shared__ int32_t drawn;
  if (threadIdx.x == 0) {  // at most kShortTopK tokens
    double sum = 0;
    for (int i = 0; i < found; ++i) sum += static_cast<double>(row.weight(shared.candidates[i].logit));
    const double target = static_cast<double>(r.top_p) * sum;
    double mass = 0;
    Racer best = {INFINITY, shared.candidates[0].id};
    for (int i = 0; i < found && (i == 0 || r.top_p >= 1 || mass < target); ++i) {
      const Token token = shared.candidates[i];
      const float weight = row.weight(token.logit);
      mass += static_cast<double>(weight);
      if (weight < r.min_p) continue;
      const Racer racer = {exponential(sample_word(r.seed, r.position, token.id)) / static_cast<double>(weight), token.id};
      if (is_faster(racer, best)) best = racer;
    }
    drawn = best.id;
  }
  sync_block();
  return drawn;
}

QUERN_DEVICE int32_t draw_by_weight(SampleView& row, const SampleRow& r, Shared& shared) {
  row.inverse_temperature = 1.F / r.temperature;
  if (r.top_k > 0 && r.top_k <= kShortTopK) return draw_among(row, r, sort_candidates(row, shared, r.top_k), shared);
  SampleCut cut = {0, 0x7fffffff};
  if (r.top_k > 0 && r.top_k < row.count) {
    cut = search_cut(
        row, cut, static_cast<double>(r.top_k), [](float) { return 1.0; }, shared.sums);
  }
  if (r.top_p < 1) {
    double mass = 0;
    row.each(logit_of_key(max(cut.key, order_key(-INFINITY))), [&](int id, float logit) {
      if (cut.keeps(order_key(logit), id)) mass += static_cast<double>(row.weight(logit));
    });
    mass = reduce_block(mass, shared.doubles, [](double a, double b) { return a + b; });
    cut = search_cut(
        row, cut, static_cast<double>(r.top_p) * mass, [](float weight) { return static_cast<double>(weight); }, shared.sums);
  }
  return race(row, r, cut, shared);
}

__global__ void __launch_bounds__(kSampleThreads) sample(const __grid_constant__ SampleKernelArgs a) {
  __shared__ Shared shared;
  wait_for_previous();
  let_next_start();
  const auto index = static_cast<size_t>(blockIdx.x);
  const SampleRow r = a.rows[index];
  SampleView row = {a.logits + index * static_cast<size_t>(a.columns),
                    reinterpret_cast<float*>(dynamic_smem()),
                    a.count,
                    (a.count + kSampleBlock - 1) / kSampleBlock,
                    0,
                    1};
  const bool wants_logprobs = r.num_logprobs >= 0 && a.logprobs != nullptr;
  const bool is_modified = r.biases_begin != r.biases_end || r.counts_begin != r.counts_end || r.allowed_row >= 0;
  if (r.temperature <= 0 && !wants_logprobs && !is_modified) {  // one pass
    Token best = {-INFINITY, 0x7fffffff};
    uint32_t magnitude = 0;
#pragma unroll 8
    for (int id = static_cast<int>(threadIdx.x); id < a.count; id += kSampleThreads) {
      const Token token = {row.logits[id], id};
      magnitude = max(magnitude, __float_as_uint(token.logit) & 0x7fffffffU);
      if (token.logit > best.logit) best = token;
    }
    best = reduce_block(best, shared.tokens, [](const Token& x, const Token& y) { return is_before(y, x) ? y : x; });
    const int worst = reduce_block(static_cast<int>(magnitude), shared.ints, [](int x, int y) { return max(x, y); });
    if (threadIdx.x == 0) a.token_ids[index] = worst < 0x7f800000 ? best.id : -1;
    return;
  }

  if (!find_maxima(row, shared)) {
    if (threadIdx.x == 0) a.token_ids[index] = -1;
    return;
  }
  float* const originals = a.originals + index * static_cast<size_t>(a.columns);
  float log_sum = 0;
  if (wants_logprobs) {
    double sum = 0;
    row.each(-INFINITY, [&](int, float logit) { sum += static_cast<double>(row.weight(logit)); });
    sum = reduce_block(sum, shared.doubles, [](double x, double y) { return x + y; });
    log_sum = row.largest + static_cast<float>(log(sum));
    const int wanted = min(r.num_logprobs, kMaxLogprobs);
    if (wanted > 0 && a.top_ids != nullptr) {
      const int found = sort_candidates(row, shared, wanted);
      for (int i = static_cast<int>(threadIdx.x); i < found; i += kSampleThreads) {
        a.top_ids[index * kMaxLogprobs + static_cast<size_t>(i)] = shared.candidates[i].id;
        a.top_logprobs[index * kMaxLogprobs + static_cast<size_t>(i)] = shared.candidates[i].logit - log_sum;
      }
      sync_block();
    }
  }
  if (is_modified) {
    modify(a, r, row.logits, originals);
    find_maxima(row, shared);
  }
  int32_t token = -1;  // every token is banned
  if (row.largest != -INFINITY) token = r.temperature <= 0 ? first_of(row, shared, row.largest).id : draw_by_weight(row, r, shared);
  if (wants_logprobs && token >= 0) {
    const float logit = original(a, r, row.logits, originals, token, shared);
    if (threadIdx.x == 0) a.logprobs[index] = logit - log_sum;
  }
  if (threadIdx.x == 0) a.token_ids[index] = token;
}

void run(const SampleArgs& a, Stream& stream) {
  const size_t columns = a.logits.columns(), smem = (static_cast<size_t>(a.num_tokens) + kSampleBlock - 1) / kSampleBlock * sizeof(float);
  for (size_t first = 0; first < a.logits.rows(); first += kRowsAtOnce) {
    Workspace workspace(stream);
    const size_t rows = std::min(kRowsAtOnce, a.logits.rows() - first);
    const SampleKernelArgs args = {reinterpret_cast<float*>(a.logits.data) + first * columns,
                                   static_cast<int>(columns),
                                   a.num_tokens,
                                   a.rows + first,
                                   a.counts,
                                   a.biases,
                                   a.allowed,
                                   a.token_ids + first,
                                   a.logprobs == nullptr ? nullptr : a.logprobs + first,
                                   a.top_ids == nullptr ? nullptr : a.top_ids + first * kMaxLogprobs,
                                   a.top_logprobs == nullptr ? nullptr : a.top_logprobs + first * kMaxLogprobs,
                                   workspace.take<float>(rows * columns)};
    launch("sample", &sample, {static_cast<unsigned>(rows), kSampleThreads, smem}, cuda_stream(stream), args);
  }
}

}  // namespace

const KernelRow<SampleArgs> kSampleRow = {
    "sample_block", [](const SampleArgs&, const DeviceInfo&) { return true; }, run,
    [](const SampleArgs& a, const DeviceInfo&) {
      return Workspace::aligned(std::min(kRowsAtOnce, a.logits.rows()) * a.logits.columns() * sizeof(float));
    }};

}  // namespace quern::cuda
