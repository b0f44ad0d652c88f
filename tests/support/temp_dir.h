// TempDir: a directory of its own for one test, gone with it.
#pragma once

#include <filesystem>

namespace layerboot::test {

class TempDir {
 public:
  /// Under $TMPDIR or /tmp. Ends the test program when none can be made.
  TempDir() : TempDir(std::filesystem::temp_directory_path()) {}
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
