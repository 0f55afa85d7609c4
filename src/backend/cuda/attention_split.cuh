// How decode attention is dealt to warps. A pair is one KV head of one sequence; its visible context is walked in steps of 16 tokens and
// summed in chunks whose boundaries depend on positions alone. All pairs' steps lie in one line, sequence by sequence, head by head; warp
// w of N takes the chunks that begin in [total w / N, total (w + 1) / N).
#pragma once
#include "backend/cuda/attention_tiles.cuh"

namespace quern::cuda {

constexpr int kDecodeWarps = 4, kStepTokens = 16;
constexpr int kMaxGroup = 8, kMaxDecode = 1024;

// Chunks of 64 tokens up to 2048, of 256 up to 8192, of 1024 up to 32768, then of 4096.
constexpr QUERN_DEVICE_HOST int chunk_begin(int chunk) {
  return chunk <= 32   ? 64 * chunk
         : chunk <= 56 ? 2048 + 256 * (chunk - 32)
         : chunk <= 80 ? 8192 + 1024 * (chunk - 56)
                       : 32768 + 4096 * (chunk - 80);
}
constexpr QUERN_DEVICE_HOST int chunk_of(int position) {
  return position < 2048    ? position / 64
         : position < 8192  ? 32 + (position - 2048) / 256
         : position < 32768 ? 56 + (position - 8192) / 1024
                            : 80 + (position - 32768) / 4096;
}

QUERN_DEVICE int first_visible(const AttentionView& v, int context) { return v.window == 0 || context < v.window ? 0 : context - v.window; }
QUERN_DEVICE int first_step(const AttentionView& v, int context) { return first_visible(v, context) / kStepTokens; }
QUERN_DEVICE int end_step(int context) { return (context + kStepTokens - 1) / kStepTokens; }

// ends[s + 1]: steps of one KV head of the sequences up to s. By the first warp.
QUERN_DEVICE void count_steps(const AttentionView& v, int* ends, int lane) {
  int total = 0;
  if (lane == 0) ends[0] = 0;
  for (int first = 0; first < v.num_decode; first += kWarp) {
    const int s = first + lane;
    int count = 0;
    if (s < v.num_decode) {
      const int context = v.context_lengths[s];
      count = context <= 0 ? 0 : end_step(context) - first_step(v, context);
    }
    for (int step = 1; step < kWarp; step *= 2) {
      const int below = shuffle(count, lane - step < 0 ? 0 : lane - step);
      if (lane >= step) count += below;
    }
    if (s < v.num_decode) ends[s + 1] = total + count;
    total += shuffle(count, kWarp - 1);
  }
}

// A step of a pair.
struct Cursor {
  int sequence, head;
  int step, first, end;  // of the pair: positions over kStepTokens
  int context;
};

// The deal of a launch.
struct Schedule {
  const AttentionView& v;
  const int* ends;
  int num_warps;

  QUERN_DEVICE int total() const { return ends[v.num_decode] * v.kv.num_kv_heads; }
  QUERN_DEVICE int boundary(int warp) const { return total() / num_warps * warp + total() % num_warps * warp / num_warps; }
  // The warp whose range has step `at`: a guess within one of it, then the exact one.
  QUERN_DEVICE int warp_of(int at) const {
    int warp = static_cast<int>(static_cast<float>(at) * (static_cast<float>(num_warps) / static_cast<float>(total())));
    while (boundary(warp) > at) --warp;
    while (boundary(warp + 1) <= at) ++warp;
    return warp;
  }
  QUERN_DEVICE int pair_begin(int sequence, int head) const {
    return ends[sequence] * v.kv.num_kv_heads + head * (ends[sequence + 1] - ends[sequence]);
  }
  QUERN_DEVICE int place(const Cursor& c) const {
    return c.sequence == v.num_decode ? total() : pair_begin(c.sequence, c.head) + (c.step - c.first);
  }
  QUERN_DEVICE void enter(Cursor& c) const {
    c.context = v.context_lengths[c.sequence];
    c.first = c.step = first_step(v, c.context);
    c.end = end_step(c.context);
  }
  QUERN_DEVICE void next_pair(Cursor& c) const {
    if (++c.head == v.kv.num_kv_heads) {
      c.head = 0;
      do {
        ++c.sequence;
      } while (c.sequence < v.num_decode && ends[c.sequence + 1] == ends[c.sequence]);
      if (c.sequence < v.num_decode) enter(c);
    }
    c.step = c.first;
  }
  QUERN_DEVICE void next(Cursor& c) const {
    if (++c.step == c.end) next_pair(c);
  }
  // The first step of the first chunk that begins at or behind step `at` of the line, which is within it.
  QUERN_DEVICE Cursor chunk_from(int at) const {
    int low = 0, high = v.num_decode - 1;
    while (low < high) {
      const int middle = (low + high) / 2;
      if (at < ends[middle + 1] * v.kv.num_kv_heads)
        high = middle;
      else
        low = middle + 1;
    }
    Cursor c;
    c.sequence = low;
    enter(c);
    const int inside = at - ends[low] * v.kv.num_kv_heads, steps = c.end - c.first;
    c.head = inside / steps;
    const int behind = inside - c.head * steps;
    if (behind == 0) return c;
    c.step = c.first + behind;
    const int chunk = chunk_of(c.step * kStepTokens);
    if (chunk_begin(chunk) == c.step * kStepTokens) return c;
    c.step = chunk_begin(chunk + 1) / kStepTokens;
    if (c.step >= c.end) next_pair(c);
    return c;
  }
  // The same, and its place in the line.
  QUERN_DEVICE int find(int at, Cursor& found) const {
    found = chunk_from(at);
    return place(found);
  }
  QUERN_DEVICE int chunks(int context) const { return chunk_of(context - 1) - chunk_of(first_visible(v, context)) + 1; }
};

}  // namespace quern::cuda
