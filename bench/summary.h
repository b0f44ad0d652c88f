// Summary: what several rounds of several servers come to, against the goals.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "oci-mount/base/result.h"

namespace layerboot::bench {

/// Medians over the rounds, with the range.
struct Figure {
  double median = 0;
  double low = 0;
  double high = 0;
};

struct Line {
  Figure cpu_us;
  Figure p50_us;
  Figure p99_us;
  Figure operations_per_second;
  Figure interrupts;
  double rss_bytes = 0;
  double descriptors = 0;
};

struct LineKey {
  std::string server;
  std::string workload;
  unsigned depth = 0;
  unsigned queues = 0;
  auto operator<=>(const LineKey&) const = default;
};

using Summary = std::map<LineKey, Line>;

/// Reads every results file (SERVER.QUEUES.ROUND.json) of `directory`.
Result<Summary> read_summary(const std::filesystem::path& directory);

/// One line of DESIGN's table: CPU time per operation, peers' best over vfsd's.
struct Goal {
  const char* title;
  const char* workload;
  unsigned depth;
  double ratio;
  const char* ours;   // the server that the goal is about
  const char* limit;  // the limits' line that bounds it; "": the null server does
};
[[nodiscard]] const std::vector<Goal>& goals();

/// What two queues on two cores are to do as a multiple of what one does, by operations a second.
struct QueueGoal {
  const char* title;
  const char* workload;
  unsigned depth;
  double ratio;
  const char* limit;  // the same of bare calls, by one thread and by two; null: nothing is in the way
};
inline constexpr const char* kTwoCores = "vfsd-two-cores";
/// vfsd-gzip on the reactor's other engine.
inline constexpr const char* kByEpoll = "vfsd-gzip-epoll";
[[nodiscard]] const std::vector<QueueGoal>& queue_goals();

/// The peers that were measured, of those known.
[[nodiscard]] std::vector<std::string> peers_in(const Summary& summary);
/// Null where it was not measured.
[[nodiscard]] const Line* find_line(const Summary& summary, const std::string& server,
                                    const std::string& workload, unsigned depth, unsigned queues = 1);

}  // namespace layerboot::bench
