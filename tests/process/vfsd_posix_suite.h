// The suite that runs through every door, on a tree with:
//   etc/hostname "lower\n"   etc/gone "x"   etc/conf -> hostname   big (big_content())   dir/{a,b,c}
//   "a","b","c"
#pragma once

#include <ostream>
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
/// What GoogleTest shows of its parameter.
inline void PrintTo(const PosixCheck& check, std::ostream* out) { *out << check.name; }

}  // namespace layerboot::test
