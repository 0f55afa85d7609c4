#include "cli/bench_report.h"

#include <algorithm>

namespace quern {
namespace {

OrderedJson samples_json(const Samples& samples, const char* unit) {
  return OrderedJson{{unit, samples.median()}, {"spread", samples.spread()}, {"values", samples.values}};
}

OrderedJson profile_json(const StepProfile& profile) {
  OrderedJson rows = OrderedJson::array();
  for (const OperationTime& o : profile.operations) {
    rows.push_back({{"operation", o.operation}, {"row", o.row}, {"calls", o.calls}, {"seconds", o.seconds}});
  }
  return {{"seconds", profile.seconds}, {"operations", rows}};
}

std::string profile_lines(const char* name, const StepProfile& profile) {
  std::string text = fmt::format("{}: one step of {:.3f} ms\n", name, profile.seconds * 1e3);
  double known = 0;
  for (const OperationTime& o : profile.operations) {
    text += fmt::format("  {:14} {:22} {:3} calls {:10.3f} ms {:5.1f} %\n", o.operation, o.row, o.calls, o.seconds * 1e3,
                        100 * o.seconds / profile.seconds);
    known += o.seconds;
  }
  return text + fmt::format("  all of these {:40.3f} ms {:5.1f} %\n", known * 1e3, 100 * known / profile.seconds);
}

double share_of_bandwidth(const BenchReport& report, const OperationCost& cost) {
  return report.bandwidth.median() == 0 ? 0 : cost.bytes / cost.seconds / report.bandwidth.median();
}

OrderedJson kernels_json(const BenchReport& report) {
  OrderedJson rows = OrderedJson::array();
  for (const OperationCost& k : report.kernels) {
    rows.push_back({{"operation", k.operation},
                    {"row", k.row},
                    {"calls", k.calls},
                    {"seconds", k.seconds},
                    {"bytes", k.bytes},
                    {"share", share_of_bandwidth(report, k)}});
  }
  return rows;
}

std::string kernels_lines(const BenchReport& report) {
  std::string text = "a decode step's operations, kind by kind\n";
  for (const OperationCost& k : report.kernels) {
    text += fmt::format("  {:14} {:22} {:3} calls {:10.2f} us each", k.operation, k.row, k.calls,
                        k.seconds * 1e6 / static_cast<double>(k.calls));
    if (k.bytes > 0) text += fmt::format(" {:8.1f} GB/s {:5.1f} %", k.bytes / k.seconds / 1e9, 100 * share_of_bandwidth(report, k));
    text += "\n";
  }
  return text;
}

}  // namespace

double Samples::median() const {
  std::vector<double> sorted = values;
  std::ranges::sort(sorted);
  const size_t middle = sorted.size() / 2;
  if (sorted.empty()) return 0;
  return sorted.size() % 2 == 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

double Samples::spread() const {
  if (values.empty()) return 0;
  const auto [least, most] = std::ranges::minmax(values);
  return (most - least) / 2 / median();
}

double BenchReport::prefill_operations() const {
  double sum = 0;
  for (const Unit& unit : units) sum += unit.work;
  return sum;
}

double BenchReport::prefill_limit() const {
  double seconds = 0;
  for (const Unit& unit : units) {
    if (unit.operations == 0) return 0;
    seconds += unit.work / unit.operations;
  }
  return seconds;
}

OrderedJson report_json(const BenchReport& report) {
  OrderedJson object;
  object["model"] = report.model;
  object["device"] = report.device;
  object["prompt_tokens"] = report.prompt_tokens;
  object["output_tokens"] = report.output_tokens;
  object["depth"] = report.depth;
  object["batch"] = report.batch;
  object["prefill"] = samples_json(report.prefill, "tokens_per_second");
  object["prefill"]["operations_per_second"] = report.prefill.median() * report.prefill_operations();
  object["prefill"]["share"] = report.prefill.median() * report.prefill_limit();
  object["decode"] = samples_json(report.decode, "tokens_per_second");
  object["decode"]["bytes_per_step"] = report.decode_bytes;
  object["decode"]["bytes_per_second"] = report.decode.median() / static_cast<double>(report.batch) * report.decode_bytes;
  object["decode"]["share"] = report.decode_share.median();
  OrderedJson units = OrderedJson::object();
  for (const BenchReport::Unit& unit : report.units) units[unit.unit] = unit.operations;
  object["limits"] = {{"bytes_per_second", report.bandwidth.median()},
                      {"bytes_per_second_spread", report.bandwidth.spread()},
                      {"operations_per_second", units}};
  if (report.decode_profile.seconds > 0) {
    object["profile"] = {{"prefill", profile_json(report.prefill_profile)}, {"decode", profile_json(report.decode_profile)}};
  }
  if (!report.kernels.empty()) object["kernels"] = kernels_json(report);
  return object;
}

std::string report_csv(const BenchReport& report) {
  const double decode = report.decode.median(), batch = static_cast<double>(report.batch);
  std::string model = report.model, device = report.device;
  std::ranges::replace(model, ',', ' ');
  std::ranges::replace(device, ',', ' ');
  return fmt::format(
      "model,device,prompt_tokens,output_tokens,depth,batch,prefill_tokens_per_second,prefill_spread,prefill_operations_per_second,"
      "prefill_share,decode_tokens_per_second,decode_spread,decode_ms_per_step,decode_bytes_per_step,decode_bytes_per_second,decode_share,"
      "bytes_per_second_limit\n{},{},{},{},{},{},{:.1f},{:.4f},{:.4e},{:.4f},{:.2f},{:.4f},{:.4f},{:.0f},{:.4e},{:.4f},{:.4e}\n",
      model, device, report.prompt_tokens, report.output_tokens, report.depth, report.batch, report.prefill.median(),
      report.prefill.spread(), report.prefill.median() * report.prefill_operations(), report.prefill.median() * report.prefill_limit(),
      decode, report.decode.spread(), batch / decode * 1e3, report.decode_bytes, decode / batch * report.decode_bytes,
      report.decode_share.median(), report.bandwidth.median());
}

std::string report_lines(const BenchReport& report) {
  const double operations = report.prefill.median() * report.prefill_operations();
  const double bytes = report.decode.median() / static_cast<double>(report.batch) * report.decode_bytes;
  std::string text = fmt::format("{}, {}\n", report.model, report.device);
  text += fmt::format("prefill  {:5} tokens at {:<6}           {:10.1f} tokens/s +- {:4.1f} %   {:8.1f} Gop/s", report.prompt_tokens,
                      report.depth, report.prefill.median(), 100 * report.prefill.spread(), operations / 1e9);
  if (report.prefill_limit() > 0) {
    text += fmt::format(" {:5.1f} % of the units:", 100 * report.prefill.median() * report.prefill_limit());
    for (const BenchReport::Unit& unit : report.units) text += fmt::format(" {} {:.0f}", unit.unit, unit.operations / 1e9);
  }
  text += fmt::format("\ndecode   {:5} tokens at {:<6} batch {:<4}{:10.1f} tokens/s +- {:4.1f} %   {:8.2f} GB/s ", report.output_tokens,
                      report.depth + report.prompt_tokens, report.batch, report.decode.median(), 100 * report.decode.spread(), bytes / 1e9);
  if (report.bandwidth.median() > 0) {
    text += fmt::format(" {:5.1f} % of {:.2f} +- {:.0f} %", 100 * report.decode_share.median(), report.bandwidth.median() / 1e9,
                        100 * report.bandwidth.spread());
  }
  text += fmt::format("   {:.1f} MB a step\n", report.decode_bytes / 1e6);
  text += fmt::format("         {:.3f} ms a step\n", static_cast<double>(report.batch) / report.decode.median() * 1e3);
  if (!report.kernels.empty()) text += kernels_lines(report);
  if (report.decode_profile.seconds > 0) {
    text += profile_lines("prefill", report.prefill_profile) + profile_lines("decode", report.decode_profile);
  }
  return text;
}

}  // namespace quern
