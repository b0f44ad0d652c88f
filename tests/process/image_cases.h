// Images at the edges of the layer format, and what runtimes make of them. Data, but for the making of the
// tars.
#pragma once

#include <string>
#include <vector>

namespace layerboot::test {

/// How another program's tree compares with ours. What differs follows a rule of oci-mount/tree/FORMAT.md.
enum class Compared { kSame, kDiffers, kItFails, kWeRefuse, kBothRefuse };

struct ImageCase {
  std::string name;                 // what is tried
  std::string section;              // of the image specification's layer.md, or of pax(1)
  std::vector<std::string> layers;  // plain tars, lowest first
  Compared umoci = Compared::kSame;
  Compared containerd = Compared::kSame;
  std::string rule;  // where they are not the same: which of our rules says so
};

std::vector<ImageCase> image_cases();

}  // namespace layerboot::test
