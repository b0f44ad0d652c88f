#include "launcher/timeline.h"

#include <algorithm>
#include <array>
#include <cstdio>

namespace layerboot::launcher {

void Timeline::mark(std::string_view name, std::chrono::steady_clock::time_point at) {
  using std::chrono::duration_cast;
  using std::chrono::microseconds;
  if (marks_.size() >= kMaxMarks) return;
  if (std::ranges::find(marks_, name, &Mark::name) != marks_.end()) return;
  const auto before = marks_.empty() ? microseconds(0) : marks_.back().at;
  marks_.push_back(
      {.name = std::string(name), .at = std::max(before, duration_cast<microseconds>(at - start_))});
}

void Timeline::mark_after(std::string_view earlier, std::chrono::microseconds delay, std::string_view name) {
  const auto now = std::chrono::steady_clock::now();
  const auto found = std::ranges::find(marks_, earlier, &Mark::name);
  mark(name, found == marks_.end() ? now : std::min(now, start_ + found->at + delay));
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
