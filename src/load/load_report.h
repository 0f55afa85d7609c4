// The figures of a run as text in the form of `vllm bench serve`, and as JSON with its names.
#pragma once
#include <string>
#include <vector>

#include "base/json.h"
#include "load/load_metrics.h"
#include "load/load_run.h"

namespace quern {

struct ReportSubject {
  std::string base_url, dataset;
  const LoadOptions* options = nullptr;
  std::vector<std::string> shown;  // of ttft, tpot, itl, e2el: those with lines of their own
  bool has_goodput = false;
};

std::string load_report_lines(const LoadMetrics& metrics, const ReportSubject& subject);
OrderedJson load_report_json(const LoadMetrics& metrics, const ReportSubject& subject);
// The times of each request, for --save-detailed; appended to the report.
void append_details(OrderedJson& report, const std::vector<RequestRecord>& records);

}  // namespace quern
