// The tables of a report as text, the same for each form of the page.
#pragma once
#include <span>
#include <string>
#include <vector>

#include "eval/report.h"

namespace quern {

struct ReportTable {
  std::string title;
  std::vector<std::string> columns;
  std::vector<std::vector<std::string>> rows;  // the first cell names the run
};

std::vector<ReportTable> report_tables(std::span<const ReportEntry> entries);

}  // namespace quern
