// Which files to load for a device: modules.alias and modules.dep, as depmod(8) writes them.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace guest_init {

class ModuleIndex {
 public:
  /// What a dependency list may hold; more is cut off (a broken file, not a kernel's).
  static constexpr std::size_t kMaxClosure = 64;

  ModuleIndex() = default;
  /// Lines that do not parse are skipped.
  ModuleIndex(std::string_view dep_text, std::string_view alias_text);

  /// Files, relative to the modules directory, in the order they must be loaded, for the modules whose alias
  /// pattern matches `modalias`, or which have it as their name. Empty when nothing does.
  [[nodiscard]] std::vector<std::string> files_for(std::string_view modalias) const;
  [[nodiscard]] bool empty() const { return files_.empty(); }

 private:
  struct Alias {
    std::string pattern;
    std::string module;
  };
  void add_with_dependencies(const std::string& module, std::vector<std::string>& out) const;

  // By module name, with '_' for '-': first the module's own file, then what it needs, nearest first.
  std::map<std::string, std::vector<std::string>, std::less<>> files_;
  std::vector<Alias> aliases_;
};

}  // namespace guest_init
