// TarWriter: a small, deterministic ustar archive in memory.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "oci-mount/base/result.h"

namespace layerboot::launcher {

/// Builds the archive entry by entry; owner root, time 0. Parents of an entry are left out: a layer that
/// names a directory would replace the attributes of the image's own. Follows POSIX ustar (pax(1)).
class TarWriter {
 public:
  /// ENAMETOOLONG past ustar's 100 bytes of name (a prefix is not written), EFBIG past 64 MiB of content.
  Result<void> add_file(std::string_view path, std::string_view content, unsigned mode = 0644);

  /// Ends the archive and gives its bytes. The writer is empty afterwards.
  std::string finish();

 private:
  std::string archive_;
};

}  // namespace layerboot::launcher
