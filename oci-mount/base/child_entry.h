// ChildEntry: how a program that is started again as one of its children (walled_child.h) comes to know it.
#pragma once

#include <optional>
#include <string_view>

namespace layerboot {

/// A constant of whoever has such children. Before any thread.
class ChildEntry {
 public:
  /// `child_main` returns what the process ends with, if at all.
  constexpr ChildEntry(const char* argument, int (*child_main)())
      : argument_(argument), child_main_(child_main) {}

  /// The first of main(): what it is to return with, where this is the child. Else children can be started
  /// from now on.
  std::optional<int> enter(int argc, const char* const* argv) {
    if (argc == 2 && std::string_view(argv[1]) == argument_) return child_main_();
    is_offered_ = true;
    return std::nullopt;
  }
  /// Whether this program's main() has asked: one that has not, does without children.
  [[nodiscard]] bool is_offered() const { return is_offered_; }
  [[nodiscard]] const char* argument() const { return argument_; }

 private:
  const char* argument_;
  int (*child_main_)();
  bool is_offered_ = false;
};

}  // namespace layerboot
