#include "launcher/supervise/timeline.h"

#include <algorithm>
#include <array>
#include <cstdio>

namespace layerboot::launcher {

void Timeline::mark(std::string_view name, std::chrono::steady_clock::time_point at) {
  using std::chrono::duration_cast;
  using std::chrono::microseconds;
  if (marks_.size() >= kMaxMarks) return;
  if (std::ranges::find(marks_, name, &Mark::name) != marks_.end()) return;
  const auto since_start = std::max(microseconds(0), duration_cast<microseconds>(at - start_));
  const auto place = std::ranges::upper_bound(marks_, since_start, {}, &Mark::at);
  marks_.insert(place, {.name = std::string(name), .at = since_start});
}

std::string Timeline::table() const {
  std::string text;
  std::chrono::microseconds before{0};
  for (const Mark& mark : marks_) {
    const auto ms = [](std::chrono::microseconds time) { return static_cast<double>(time.count()) / 1000; };
    std::array<char, 160> line{};
    std::snprintf(line.data(), line.size(), "%10.1f ms  %10.1f ms  %s\n", ms(mark.at - before), ms(mark.at),
                  mark.name.c_str());
    text += line.data();
    before = mark.at;
  }
  return text;
}

}  // namespace layerboot::launcher
