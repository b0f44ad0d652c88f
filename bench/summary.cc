#include "bench/summary.h"

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>

namespace layerboot::bench {

namespace {

struct Samples {
  std::vector<double> cpu_us, p50_us, p99_us, operations, interrupts, rss, descriptors;
};

Figure figure_of(std::vector<double> values) {
  std::ranges::sort(values);
  const std::size_t middle = values.size() / 2;
  const double median = values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
  return {median, values.front(), values.back()};
}

}  // namespace

Result<Summary> read_summary(const std::filesystem::path& directory) {
  std::map<LineKey, Samples> samples;
  std::error_code error;
  for (std::filesystem::directory_iterator file(directory, error), end; file != end; file.increment(error)) {
    std::ifstream text(file->path());
    const auto document = nlohmann::json::parse(text, nullptr, false);
    if (document.is_discarded()) return fail(EBADMSG, file->path().native(), " is not JSON");
    for (const auto& one : document["results"]) {
      auto& into = samples[{document["server"], one["workload"], one["depth"], one["queues"]}];
      into.cpu_us.push_back(one["cpu_us_per_op"]);
      into.p50_us.push_back(one["p50_us"]);
      into.p99_us.push_back(one["p99_us"]);
      into.operations.push_back(one["ops_per_s"]);
      into.interrupts.push_back(one["irq_per_op"]);
      into.rss.push_back(one["rss_bytes"]);
      into.descriptors.push_back(one["fds"]);
    }
  }
  if (error || samples.empty()) return fail(ENOENT, "no results in ", directory.native());
  Summary summary;
  for (const auto& [key, list] : samples) {
    summary[key] = {figure_of(list.cpu_us),
                    figure_of(list.p50_us),
                    figure_of(list.p99_us),
                    figure_of(list.operations),
                    figure_of(list.interrupts),
                    figure_of(list.rss).median,
                    figure_of(list.descriptors).median};
  }
  return summary;
}

const std::vector<Goal>& goals() {
  static const std::vector<Goal> list{
      {"GETATTR, depth 32", "getattr", 32, 10, "vfsd-gzip", ""},
      {"LOOKUP hit, depth 32", "lookup-hit", 32, 10, "vfsd-gzip", ""},
      {"LOOKUP miss, depth 32", "lookup-miss", 32, 10, "vfsd-gzip", ""},
      {"tree walk by READDIRPLUS, per entry, depth 8", "walk-entry", 8, 10, "vfsd-gzip", ""},
      {"READ 4 KiB random, depth 32, gzip layer", "read-4k", 32, 4, "vfsd-gzip", "memcpy-4k"},
      {"READ 4 KiB random, depth 32, plain tar", "read-4k", 32, 4, "vfsd-plain", "preadv-4k"},
      {"READ 128 KiB, depth 4, adjacent pages", "read-128k", 4, 1.3, "vfsd-gzip", "memcpy-128k"},
      {"READ 128 KiB, depth 4, scattered pages", "read-128k-scattered", 4, 1.6, "vfsd-gzip",
       "memcpy-128k-scattered"},
      {"READ 1 MiB, depth 4", "read-1m", 4, 1.1, "vfsd-gzip", "memcpy-1m"},
      {"OPEN+READ+RELEASE of small files, depth 8", "small-file", 8, 4, "vfsd-gzip", ""},
      {"CREATE+WRITE 4 KiB+RELEASE+UNLINK, depth 8", "create-write-unlink", 8, 1.5, "vfsd-gzip",
       "open-write-close-unlink"},
      {"WRITE 128 KiB over existing data, depth 4", "write-128k", 4, 1.05, "vfsd-gzip", "pwritev-128k"},
  };
  return list;
}

const std::vector<QueueGoal>& queue_goals() {
  static const std::vector<QueueGoal> list{
      {"GETATTR, depth 32", "getattr", 32, 1.6, nullptr},
      {"READ 4 KiB random, depth 32", "read-4k", 32, 1.6, nullptr},
      {"CREATE+WRITE 4 KiB+UNLINK, depth 8, a directory each", "create-write-unlink", 8, 1.6,
       "open-write-close-unlink-threads"},
  };
  return list;
}

std::vector<std::string> peers_in(const Summary& summary) {
  std::vector<std::string> peers;
  for (const char* const name : {"virtiofsd-c", "virtiofsd-rust"}) {
    const bool known =
        std::ranges::any_of(summary, [&](const auto& line) { return line.first.server == name; });
    if (known) peers.emplace_back(name);
  }
  return peers;
}

const Line* find_line(const Summary& summary, const std::string& server, const std::string& workload,
                      unsigned depth, unsigned queues) {
  const auto found = summary.find({server, workload, depth, queues});
  return found == summary.end() ? nullptr : &found->second;
}

}  // namespace layerboot::bench
