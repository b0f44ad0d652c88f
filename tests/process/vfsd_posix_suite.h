// The suite that runs through every door, on a tree with:
//   etc/hostname "lower\n"   etc/gone "x"   etc/conf -> hostname   big (big_content())   dir/{a,b,c}
//   "a","b","c"
#pragma once

#include <string>
#include <vector>

#include "tests/process/vfsd_door.h"

namespace layerboot::test {

std::string big_content();

/// Every check of the suite by its name; each starts on a fresh tree and reports through GoogleTest.
struct PosixCheck {
  const char* name;
  void (*run)(Door&);
};
std::vector<PosixCheck> posix_checks();

}  // namespace layerboot::test
