// The loops of sampling that go over every logit, in plain C++ that compilers vectorise without changing a bit. sample_<how>.cpp
// compiles them for its instruction set; `sample_rows` does the rest.
#pragma once
#include <cstdint>
#include <cstring>

#include "backend/kernel_row.h"
#include "backend/ops/sample_random.h"

namespace quern::cpu {

inline constexpr size_t kSampleBlock = 64;

struct SampleLoops {
  // maxima[i]: the largest of logits [64 i, 64 (i + 1)). Whether all are finite.
  bool (*block_maxima)(const float* logits, size_t count, float* maxima);
  // Sum of the weights of all logits.
  double (*sum_weights)(const float* logits, size_t count, float largest, float inverse_temperature);
  // Weights and random words of the 64 tokens from `first` on (a multiple of 64); `count` of them exist.
  void (*weights)(const float* logits, size_t count, float largest, float inverse_temperature, float* weights);
  void (*words)(uint64_t seed, uint32_t position, uint32_t first, uint32_t* words);
};

void sample_rows(const SampleArgs& args, Stream& stream, const SampleLoops& loops);

// Static members of a type of the including file alone, so that no other file's build of them is linked instead.
template <class Tag>
struct SampleLoopsFor {
  // Vectors of the compiler, which it builds from what the target has: plain loops over 16 lanes are taken apart into scalars here.
  using Floats = float __attribute__((vector_size(64)));
  using Words = uint32_t __attribute__((vector_size(64)));

  static bool block_maxima(const float* logits, size_t count, float* maxima) {
    Words magnitude = {};  // the largest so far: infinities and NaN are at the top
    const size_t whole = count / kSampleBlock * kSampleBlock;
    for (size_t begin = 0; begin < whole; begin += kSampleBlock) {
      Floats largest;
      std::memcpy(&largest, logits + begin, sizeof(largest));
      for (size_t i = begin; i < begin + kSampleBlock; i += 16) {
        Floats values;
        std::memcpy(&values, logits + i, sizeof(values));
        Words bits;
        std::memcpy(&bits, &values, sizeof(bits));
        bits &= 0x7fffffffU;
        magnitude = bits > magnitude ? bits : magnitude;
        largest = values > largest ? values : largest;
      }
      float lanes[16];
      std::memcpy(lanes, &largest, sizeof(lanes));
      maxima[begin / kSampleBlock] = largest_of(lanes, 16);
    }
    uint32_t worst = 0;
    for (size_t lane = 0; lane < 16; ++lane) worst = magnitude[lane] > worst ? magnitude[lane] : worst;
    for (size_t i = whole; i < count; ++i) {
      uint32_t bits;
      std::memcpy(&bits, logits + i, sizeof(bits));
      bits &= 0x7fffffffU;
      worst = bits > worst ? bits : worst;
    }
    if (whole < count) maxima[whole / kSampleBlock] = largest_of(logits + whole, count - whole);
    return worst < 0x7f800000U;
  }

  static float largest_of(const float* values, size_t count) {
    float largest = values[0];
    for (size_t i = 1; i < count; ++i) largest = values[i] > largest ? values[i] : largest;
    return largest;
  }

  static void weights(const float* logits, size_t count, float largest, float inverse_temperature, float* weights) {
    for (size_t i = 0; i < count; ++i) weights[i] = sample_weight(logits[i], largest, inverse_temperature);
  }

  static double sum_weights(const float* logits, size_t count, float largest, float inverse_temperature) {
    double sums[16] = {};
    float block[kSampleBlock];
    for (size_t begin = 0; begin < count; begin += kSampleBlock) {
      const size_t size = count - begin < kSampleBlock ? count - begin : kSampleBlock;
      weights(logits + begin, size, largest, inverse_temperature, block);
      for (size_t i = size; i < kSampleBlock; ++i) block[i] = 0;
      for (size_t i = 0; i < kSampleBlock; i += 16) {
        for (size_t lane = 0; lane < 16; ++lane) sums[lane] += static_cast<double>(block[i + lane]);
      }
    }
    for (size_t width = 8; width > 0; width /= 2) {
      for (size_t lane = 0; lane < width; ++lane) sums[lane] += sums[lane + width];
    }
    return sums[0];
  }

  // sample_words for 16 groups at a time.
  static void words(uint64_t seed, uint32_t position, uint32_t first, uint32_t* words) {
    constexpr size_t kGroups = kSampleBlock / 4;
    uint32_t c0[kGroups], c1[kGroups], c2[kGroups] = {}, c3[kGroups] = {};
    for (size_t g = 0; g < kGroups; ++g) c0[g] = first / 4 + static_cast<uint32_t>(g), c1[g] = position;
    uint32_t k0 = static_cast<uint32_t>(seed), k1 = static_cast<uint32_t>(seed >> 32);
    for (int round = 0; round < 10; ++round) {
      for (size_t g = 0; g < kGroups; ++g) {
        const uint64_t p0 = uint64_t{0xD2511F53} * c0[g], p1 = uint64_t{0xCD9E8D57} * c2[g];
        c0[g] = static_cast<uint32_t>(p1 >> 32) ^ c1[g] ^ k0;
        c1[g] = static_cast<uint32_t>(p1);
        c2[g] = static_cast<uint32_t>(p0 >> 32) ^ c3[g] ^ k1;
        c3[g] = static_cast<uint32_t>(p0);
      }
      k0 += 0x9E3779B9, k1 += 0xBB67AE85;
    }
    for (size_t g = 0; g < kGroups; ++g) words[4 * g] = c0[g], words[4 * g + 1] = c1[g], words[4 * g + 2] = c2[g], words[4 * g + 3] = c3[g];
  }

  static constexpr SampleLoops kLoops = {&block_maxima, &sum_weights, &weights, &words};
  static void run(const SampleArgs& args, Stream& stream) { sample_rows(args, stream, kLoops); }
};

}  // namespace quern::cpu
