// Who needs an image of the store: VMs that were made from it, and processes that read it.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "launcher/images/store_index.h"
#include "oci-mount/base/result.h"
#include "oci-mount/base/state_dirs.h"

namespace layerboot::launcher {

/// What the VMs' records say at one moment.
class ImageUse {
 public:
  /// images_of_vms()'s errors.
  static Result<ImageUse> look(const StateDirs& dirs);

  /// The VMs whose image is this entry, sorted.
  [[nodiscard]] std::vector<std::string> vms_of(const IndexEntry& entry) const;

 private:
  struct Used {
    IndexEntry entry;
    std::vector<std::string> vms;
  };
  std::vector<Used> used_;
};

/// Whether somebody reads the image at this moment. One that shares its documents with another image is also
/// read when that one is.
Result<bool> is_read_by_a_process(const std::filesystem::path& store, const StoredImage& image);

}  // namespace layerboot::launcher
