// TempDir: a directory of its own for one test, gone with it.
#pragma once

#include <filesystem>

namespace layerboot::test {

/// $TMPDIR, or /var/tmp: on a disk, as an upper directory is. Debian 13 has /tmp in memory, where a file
/// takes no blocks and nothing has extents.
std::filesystem::path temp_parent();

class TempDir {
 public:
  /// Under temp_parent(). Ends the test program when none can be made.
  TempDir() : TempDir(temp_parent()) {}
  explicit TempDir(const std::filesystem::path& parent);
  ~TempDir();
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;

  [[nodiscard]] const std::filesystem::path& path() const { return path_; }
  [[nodiscard]] std::filesystem::path operator/(const std::filesystem::path& name) const {
    return path_ / name;
  }

 private:
  std::filesystem::path path_;
};

}  // namespace layerboot::test
