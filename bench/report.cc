#include "bench/report.h"

#include <array>
#include <cstdio>
#include <nlohmann/json.hpp>

namespace layerboot::bench {

std::string table_heading() {
  std::array<char, 160> line{};
  std::snprintf(line.data(), line.size(), "%-20s %5s %6s %10s %8s %9s %9s %7s %9s %8s %5s", "workload",
                "depth", "queues", "op/s", "MB/s", "p50 us", "p99 us", "irq/op", "CPU us/op", "RSS KiB",
                "fds");
  return line.data();
}

std::string table_line(const LoadResult& r) {
  std::array<char, 160> line{};
  std::snprintf(line.data(), line.size(), "%-20s %5u %6u %10.0f %8.1f %9.1f %9.1f %7.3f %9.3f %8lu %5lu",
                r.workload.c_str(), r.depth, r.queues, r.operations_per_second, r.megabytes_per_second,
                r.p50_us, r.p99_us, r.interrupts_per_operation, r.cpu_us_per_operation,
                static_cast<unsigned long>(r.private_bytes / 1024),
                static_cast<unsigned long>(r.descriptors));
  return line.data();
}

std::string results_json(std::string_view server, std::span<const LoadResult> results) {
  nlohmann::json document{{"server", server}, {"results", nlohmann::json::array()}};
  for (const LoadResult& r : results) {
    document["results"].push_back({{"workload", r.workload},
                                   {"depth", r.depth},
                                   {"queues", r.queues},
                                   {"ops_per_s", r.operations_per_second},
                                   {"mb_per_s", r.megabytes_per_second},
                                   {"p50_us", r.p50_us},
                                   {"p99_us", r.p99_us},
                                   {"irq_per_op", r.interrupts_per_operation},
                                   {"kicks_per_op", r.kicks_per_operation},
                                   {"cpu_us_per_op", r.cpu_us_per_operation},
                                   {"rss_bytes", r.private_bytes},
                                   {"fds", r.descriptors}});
  }
  return document.dump(1) + "\n";
}

}  // namespace layerboot::bench
