// What exec(3) and posix_spawn(3) take for arguments and environment.
#pragma once

#include <span>
#include <string>
#include <vector>

namespace layerboot {

/// A pointer to each of `words`, then null. `words` are borrowed: they must outlive the call that takes this,
/// which writes nothing for all that its type says.
[[nodiscard]] inline std::vector<char*> exec_pointers(std::span<const std::string> words) {
  std::vector<char*> pointers;
  pointers.reserve(words.size() + 1);
  for (const std::string& word : words) pointers.push_back(const_cast<char*>(word.c_str()));
  pointers.push_back(nullptr);
  return pointers;
}

}  // namespace layerboot
