// Running any of our programs to its end, with all of its state in one place.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace layerboot::test {

struct Ended {
  int status = -1;  // or -signal
  std::string out;
  std::string err;
};

/// Standard input is empty; the XDG directories are data, cache and run below `state`.
Ended run_to_end(const std::vector<std::string>& words, const std::filesystem::path& state);

}  // namespace layerboot::test
