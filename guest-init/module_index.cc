#include "guest-init/module_index.h"

#include <fnmatch.h>

#include <algorithm>

namespace guest_init {

namespace {

/// The next line of `text`, without its end; `text` moves past it.
std::string_view next_line(std::string_view& text) {
  const std::size_t end = text.find('\n');
  const std::string_view line = text.substr(0, end);
  text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  return line;
}

std::string_view next_word(std::string_view& line) {
  line.remove_prefix(std::min(line.find_first_not_of(' '), line.size()));
  const std::string_view word = line.substr(0, line.find(' '));
  line.remove_prefix(word.size());
  return word;
}

std::string underscored(std::string_view name) {
  std::string result(name);
  std::replace(result.begin(), result.end(), '-', '_');
  return result;
}

/// "kernel/drivers/char/hw_random/virtio-rng.ko" is the file of virtio_rng.
std::string module_name(std::string_view path) {
  path.remove_prefix(path.rfind('/') + 1);
  return underscored(path.substr(0, path.find('.')));
}

}  // namespace

ModuleIndex::ModuleIndex(std::string_view dep_text, std::string_view alias_text) {
  while (!dep_text.empty()) {
    std::string_view line = next_line(dep_text);
    const std::size_t colon = line.find(':');
    if (colon == std::string_view::npos || colon == 0) continue;
    std::vector<std::string> files = {std::string(line.substr(0, colon))};
    line.remove_prefix(colon + 1);
    for (auto word = next_word(line); !word.empty() && files.size() < kMaxClosure; word = next_word(line)) {
      files.emplace_back(word);
    }
    std::string name = module_name(files.front());
    files_.insert_or_assign(std::move(name), std::move(files));
  }
  while (!alias_text.empty()) {
    std::string_view line = next_line(alias_text);
    if (next_word(line) != "alias") continue;
    const auto pattern = next_word(line);
    const auto module = next_word(line);
    if (!module.empty()) aliases_.push_back({std::string(pattern), underscored(module)});
  }
}

void ModuleIndex::add_with_dependencies(const std::string& module, std::vector<std::string>& out) const {
  const auto found = files_.find(module);
  if (found == files_.end()) return;
  // depmod lists the whole closure, each file before what it needs itself: backwards is the loading order.
  for (auto file = found->second.rbegin(); file != found->second.rend(); ++file) {
    if (std::find(out.begin(), out.end(), *file) == out.end()) out.push_back(*file);
  }
}

std::vector<std::string> ModuleIndex::files_for(std::string_view modalias) const {
  std::vector<std::string> out;
  const std::string text(modalias);
  for (const auto& alias : aliases_) {
    if (fnmatch(alias.pattern.c_str(), text.c_str(), 0) == 0) add_with_dependencies(alias.module, out);
  }
  add_with_dependencies(underscored(modalias), out);
  return out;
}

}  // namespace guest_init
