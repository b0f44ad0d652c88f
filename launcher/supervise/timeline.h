// Timeline: when the steps of a VM's start were reached.
#pragma once

#include <chrono>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace layerboot::launcher {

/// Marks on the steady clock, from the object's making on.
class Timeline {
 public:
  struct Mark {
    std::string name;
    std::chrono::microseconds at;
  };
  /// More are not kept: a guest may say its marks as often as it likes.
  static constexpr std::size_t kMaxMarks = 32;

  /// The first of a name counts. What is told late takes its place among the others.
  void mark(std::string_view name,
            std::chrono::steady_clock::time_point at = std::chrono::steady_clock::now());
  /// By time.
  [[nodiscard]] const std::vector<Mark>& marks() const { return marks_; }
  /// A line a step: how long it took, and when it was reached.
  [[nodiscard]] std::string table() const;

 private:
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
  std::vector<Mark> marks_;
};

}  // namespace layerboot::launcher
