// When requests arrive. Pure.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

namespace quern {

// Seconds after the start at which each of `count` requests arrives: gaps of a gamma distribution with mean 1 / rate and shape `burstiness`
// (1: a Poisson process; smaller: in bursts; larger: more evenly), stretched so that the last one arrives at (count - 1) / rate. An
// infinite rate is all at once. The same seed gives the same times.
std::vector<double> arrival_times(size_t count, double rate, double burstiness, uint64_t seed);

}  // namespace quern
