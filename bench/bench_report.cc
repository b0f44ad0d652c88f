// bench_report: RESULTS.md and results.svg out of the rounds that run_servers.sh has made.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <thread>

#include "bench/summary.h"
#include "oci-mount/base/log.h"

namespace layerboot::bench {
namespace {

constexpr const char* kOurs[] = {"vfsd-gzip", "vfsd-plain", "vfsd-upper"};

std::string number(double value) {
  std::array<char, 32> text{};
  const int digits = value >= 100 ? 0 : value >= 10 ? 1 : value >= 1 ? 2 : 3;
  std::snprintf(text.data(), text.size(), "%.*f", digits, value);
  return text.data();
}

std::string with_range(const Figure& figure) {
  return str_cat(number(figure.median), " (", number(figure.low), "–", number(figure.high), ")");
}

std::string cpu_model() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("model name")) return line.substr(line.find(':') + 2);
  }
  return "an unknown CPU";
}

/// The better peer's line, and whose it is.
std::pair<const Line*, std::string> best_peer(const Summary& summary, const std::string& workload,
                                              unsigned depth) {
  std::pair<const Line*, std::string> best{nullptr, ""};
  for (const auto& peer : peers_in(summary)) {
    const Line* const line = find_line(summary, peer, workload, depth);
    if (line == nullptr || line->cpu_us.median <= 0) continue;
    if (best.first == nullptr || line->cpu_us.median < best.first->cpu_us.median) best = {line, peer};
  }
  return best;
}

/// What bounds the goal's work, named: the bare operation, or else a server with nothing behind it.
std::string limit_of(const Summary& summary, const Goal& goal) {
  const Line* const bare = find_line(summary, "limits", goal.limit, 1, 0);
  if (bare != nullptr) return str_cat(goal.limit, ' ', with_range(bare->cpu_us));
  const Line* const null = find_line(summary, "null", goal.workload, goal.depth);
  return null == nullptr ? std::string("–") : str_cat("null server ", with_range(null->cpu_us));
}

void write_goals(std::ofstream& out, const Summary& summary) {
  out << "| work | best peer, µs | vfsd, µs | ratio | goal | met | limit, µs "
         "|\n|---|---|---|---|---|---|---|\n";
  for (const Goal& goal : goals()) {
    const auto [peer, name] = best_peer(summary, goal.workload, goal.depth);
    const Line* const ours = find_line(summary, goal.ours, goal.workload, goal.depth);
    if (peer == nullptr || ours == nullptr || ours->cpu_us.median <= 0) continue;
    const double ratio = peer->cpu_us.median / ours->cpu_us.median;
    out << "| " << goal.title << " | " << with_range(peer->cpu_us) << ' ' << name << " | "
        << with_range(ours->cpu_us) << " | " << number(ratio) << "× | " << number(goal.ratio) << "× | "
        << (ratio >= goal.ratio ? "yes" : "**no**") << " | " << limit_of(summary, goal) << " |\n";
  }
}

void write_latencies(std::ofstream& out, const Summary& summary) {
  out << "| work at depth 1 | best peer p50 (p99), µs | vfsd p50 (p99), µs | no worse |\n|---|---|---|---|\n";
  for (const auto& [key, ours] : summary) {
    if (key.server != kOurs[0] || key.depth != 1 || key.queues != 1) continue;
    const Line* best = nullptr;
    for (const auto& peer : peers_in(summary)) {
      const Line* const line = find_line(summary, peer, key.workload, 1);
      if (line != nullptr && (best == nullptr || line->p50_us.median < best->p50_us.median)) best = line;
    }
    if (best == nullptr) continue;
    out << "| " << key.workload << " | " << number(best->p50_us.median) << " (" << number(best->p99_us.median)
        << ") | " << number(ours.p50_us.median) << " (" << number(ours.p99_us.median) << ") | "
        << (ours.p50_us.median <= best->p50_us.median ? "yes" : "**no**") << " |\n";
  }
}

void write_queues(std::ofstream& out, const Summary& summary) {
  out << "| work | one queue, op/s | two queues, op/s | ratio | goal | met | the host's own "
         "calls, one thread and two |\n|---|---|---|---|---|---|---|\n";
  for (const QueueGoal& goal : queue_goals()) {
    const Line* const one = find_line(summary, kTwoCores, goal.workload, goal.depth, 1);
    const Line* const two = find_line(summary, kTwoCores, goal.workload, goal.depth, 2);
    if (one == nullptr || two == nullptr) continue;
    const double ratio = two->operations_per_second.median / one->operations_per_second.median;
    out << "| " << goal.title << " | " << with_range(one->operations_per_second) << " | "
        << with_range(two->operations_per_second) << " | " << number(ratio) << "× | " << number(goal.ratio)
        << "× | " << (ratio >= goal.ratio ? "yes" : "**no**") << " | ";
    const Line* const alone = goal.limit ? find_line(summary, "limits", goal.limit, 1, 1) : nullptr;
    const Line* const both = goal.limit ? find_line(summary, "limits", goal.limit, 1, 2) : nullptr;
    if (alone != nullptr && both != nullptr)
      out << number(both->operations_per_second.median / alone->operations_per_second.median) << "×";
    out << " |\n";
  }
}

/// What it costs where io_uring is refused.
void write_engines(std::ofstream& out, const Summary& summary) {
  out << "| work | depth | io_uring: CPU µs | p50 µs | epoll: CPU µs | p50 µs | CPU, ratio | p50, ratio |\n"
         "|---|---|---|---|---|---|---|---|\n";
  for (const auto& [key, ring] : summary) {
    if (key.server != kOurs[0] || key.queues != 1) continue;
    const Line* const epoll = find_line(summary, kByEpoll, key.workload, key.depth);
    if (epoll == nullptr || ring.cpu_us.median <= 0 || ring.p50_us.median <= 0) continue;
    out << "| " << key.workload << " | " << key.depth << " | " << with_range(ring.cpu_us) << " | "
        << number(ring.p50_us.median) << " | " << with_range(epoll->cpu_us) << " | "
        << number(epoll->p50_us.median) << " | " << number(epoll->cpu_us.median / ring.cpu_us.median)
        << "× | " << number(epoll->p50_us.median / ring.p50_us.median) << "× |\n";
  }
}

void write_everything(std::ofstream& out, const Summary& summary) {
  out << "| server | queues | work | depth | CPU µs/op | op/s | p50 µs | p99 µs | interrupts/op | RSS MiB | "
         "fds |\n"
         "|---|---|---|---|---|---|---|---|---|---|---|\n";
  for (const auto& [key, line] : summary) {
    out << "| " << key.server << " | " << key.queues << " | " << key.workload << " | " << key.depth << " | "
        << with_range(line.cpu_us) << " | " << std::llround(line.operations_per_second.median) << " | "
        << number(line.p50_us.median) << " | " << number(line.p99_us.median) << " | "
        << number(line.interrupts.median) << " | " << number(line.rss_bytes / 1048576) << " | "
        << std::llround(line.descriptors) << " |\n";
  }
}

Result<void> write_markdown(const std::filesystem::path& path, const Summary& summary,
                            const std::string& commit, unsigned rounds) {
  std::ofstream out(path);
  out << "# vfsd beside the other virtiofs daemons\n\nWritten by `./dev bench`; DESIGN.md beside this file "
         "says how "
         "it is measured.\n\nCommit "
      << commit << ", " << rounds << " rounds in alternation, " << std::thread::hardware_concurrency()
      << " × " << cpu_model()
      << "; server and driver share one core, page cache warm. A figure is the median of the rounds, with "
         "the range "
         "behind it.\n\n![CPU time per operation](results.svg)\n\n## Goals: CPU time of the daemon per "
         "operation\n\n";
  write_goals(out, summary);
  out << "\n## Latency at depth 1\n\n";
  write_latencies(out, summary);
  out << "\n## Two queues on two cores\n\n";
  write_queues(out, summary);
  out << "\n## Where io_uring is refused\n\nThe same vfsd-gzip with `--io-engine epoll`; over 1 is "
         "slower.\n\n";
  write_engines(out, summary);
  out << "\n## Everything\n\n";
  write_everything(out, summary);
  return out.flush() ? Result<void>() : fail(EIO, "writing ", path.native());
}

/// Bars of CPU time per operation on a logarithmic scale, a group for each goal.
Result<void> write_svg(const std::filesystem::path& path, const Summary& summary) {
  struct Server {
    const char* name;
    const char* color;
  };
  constexpr Server kServers[] = {{"vfsd-gzip", "#1b7f4b"},      {"vfsd-plain", "#5fb98a"},
                                 {"vfsd-upper", "#a9dcc1"},     {"virtiofsd-c", "#c0504d"},
                                 {"virtiofsd-rust", "#e39b62"}, {"null", "#999999"}};
  constexpr int kBar = 11, kLeft = 290, kWidth = 900, kScale = 130;  // pixels; kScale for each power of ten
  std::ofstream out(path);
  std::vector<std::pair<std::string, unsigned>> groups;
  for (const Goal& goal : goals()) {
    const std::pair<std::string, unsigned> group{goal.workload, goal.depth};
    if (std::ranges::find(groups, group) == groups.end()) groups.push_back(group);
  }
  constexpr int kGroup = kBar * static_cast<int>(std::size(kServers)) + 10;
  const int height = 70 + kGroup * static_cast<int>(groups.size());
  out << "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"" << kWidth << "\" height=\"" << height
      << "\" font-family=\"sans-serif\" font-size=\"11\"><rect width=\"100%\" height=\"100%\" "
         "fill=\"white\"/>"
      << "<text x=\"10\" y=\"20\" font-size=\"15\">CPU time of the daemon per operation, µs (logarithmic; "
         "shorter is "
         "better)</text>\n";
  for (int i = 0; i < static_cast<int>(std::size(kServers)); ++i) {
    out << "<rect x=\"" << 10 + i * 130 << "\" y=\"30\" width=\"10\" height=\"10\" fill=\""
        << kServers[i].color << "\"/><text x=\"" << 25 + i * 130 << "\" y=\"39\">" << kServers[i].name
        << "</text>\n";
  }
  int y = 55;
  for (const auto& [workload, depth] : groups) {
    out << "<text x=\"10\" y=\"" << y + kGroup / 2 << "\">" << workload << ", depth " << depth << "</text>\n";
    for (const Server& server : kServers) {
      const Line* const line = find_line(summary, server.name, workload, depth);
      if (line != nullptr && line->cpu_us.median > 0) {
        // 0.01 µs is the left end.
        const double length = std::max(1.0, (std::log10(line->cpu_us.median) + 2) * kScale);
        out << "<rect x=\"" << kLeft << "\" y=\"" << y << "\" width=\"" << number(length) << "\" height=\""
            << kBar - 1 << "\" fill=\"" << server.color << "\"/><text x=\"" << number(kLeft + length + 4)
            << "\" y=\"" << y + 9 << "\" font-size=\"9\">" << number(line->cpu_us.median) << "</text>\n";
      }
      y += kBar;
    }
    y += 10;
  }
  out << "</svg>\n";
  return out.flush() ? Result<void>() : fail(EIO, "writing ", path.native());
}

}  // namespace
}  // namespace layerboot::bench

int main(int argc, char** argv) {
  using namespace layerboot;
  std::filesystem::path results;
  std::filesystem::path output;
  std::string commit;
  unsigned rounds = 0;
  CLI::App app("Writes the report of a measurement.", "bench_report");
  app.add_option("--results", results, "directory of SERVER.QUEUES.ROUND.json")->required();
  app.add_option("--output", output, "where RESULTS.md and results.svg go")->required();
  app.add_option("--commit", commit, "what was measured");
  app.add_option("--rounds", rounds, "how often");
  CLI11_PARSE(app, argc, argv);
  log_setup("bench_report", LogLevel::kInfo);
  const auto summary = bench::read_summary(results);
  auto done = summary ? bench::write_markdown(output / "RESULTS.md", *summary, commit, rounds)
                      : Result<void>(std::unexpected(summary.error()));
  if (done) done = bench::write_svg(output / "results.svg", *summary);
  if (done) return 0;
  log_error(done.error().describe());
  return 1;
}
