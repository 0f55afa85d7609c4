// What quern bench measured, and how it is shown.
#pragma once
#include <string>
#include <vector>

#include "base/json.h"
#include "models/transformer.h"

namespace quern {

// Values of the repeats of one measurement.
struct Samples {
  std::vector<double> values;

  double median() const;
  // Half of the distance between the slowest and the fastest, as a share of the median.
  double spread() const;
};

// Time of one operation in one step.
struct OperationTime {
  std::string operation, row;
  size_t calls = 0;
  double seconds = 0;
};
struct StepProfile {
  double seconds = 0;  // of the whole step
  std::vector<OperationTime> operations;
};

struct BenchReport {
  std::string model, device;
  size_t prompt_tokens = 0, output_tokens = 0, depth = 0, batch = 1;
  Samples prefill, decode;  // tokens a second
  Samples bandwidth;        // bytes a second that memory gave just before each round of decoding and just after it
  Samples decode_share;     // of that bandwidth, round by round
  double decode_bytes = 0;  // of one step of the whole batch: weights once, KV of each sequence
  struct Unit {
    std::string unit;       // type of the products
    double operations = 0;  // a second, measured; 0: not
    double work = 0;        // operations of one prompt token in this unit
  };
  std::vector<Unit> units;
  StepProfile prefill_profile, decode_profile;  // with --profile
  std::vector<OperationCost> kernels;           // of a decode step, with --kernels

  double prefill_operations() const;  // of one prompt token: two a weight of the layers, and attention
  // Seconds that the units need for a prompt token at their measured rates; 0: not measured.
  double prefill_limit() const;
};

OrderedJson report_json(const BenchReport& report);
std::string report_lines(const BenchReport& report);
// A line of names and a line of values.
std::string report_csv(const BenchReport& report);

}  // namespace quern
