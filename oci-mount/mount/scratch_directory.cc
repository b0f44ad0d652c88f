#include "oci-mount/mount/scratch_directory.h"

#include <stdlib.h>

#include <string>
#include <system_error>

namespace layerboot::mount {

Result<ScratchDirectory> ScratchDirectory::make_in(const std::filesystem::path& parent,
                                                   std::string_view purpose) {
  std::string pattern = (parent / str_cat(".", purpose, "-XXXXXX")).string();
  if (::mkdtemp(pattern.data()) == nullptr)
    return errno_error("cannot make a directory in ", parent.string());
  return ScratchDirectory(pattern);
}

ScratchDirectory::~ScratchDirectory() {
  std::error_code ignored;
  if (!path_.empty()) std::filesystem::remove_all(path_, ignored);
}

}  // namespace layerboot::mount
