// CpioWriter: an initramfs archive in memory.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "oci-mount/base/result.h"

namespace layerboot::launcher {

/// Builds a `newc` archive entry by entry: owner root, time 0, so that the same entries give the same bytes.
/// Archives may be written one behind the other: the kernel unpacks them in turn. Follows the kernel's
/// Documentation/driver-api/early-userspace/buffer-format.rst.
class CpioWriter {
 public:
  /// An archive is held in memory and goes into a guest's: EFBIG past this.
  static constexpr std::size_t kMaxArchiveBytes = std::size_t{512} << 20;

  /// `path` is relative, without a leading slash. Parents must be added before what is in them.
  Result<void> add_directory(std::string_view path, unsigned permissions = 0755);
  Result<void> add_file(std::string_view path, std::string_view content, unsigned permissions = 0644);

  /// Ends the archive and gives its bytes, a multiple of 4. The writer is empty afterwards.
  std::string finish();

 private:
  Result<void> add(std::string_view path, unsigned mode, std::string_view content);

  std::string archive_;
  std::uint32_t next_inode_ = 1;
};

}  // namespace layerboot::launcher
