// A FUSE file system with one file in it, "file", that stops answering when it is told to, as one over a
// network does.
#pragma once

#include <atomic>
#include <cstddef>
#include <filesystem>
#include <thread>

#include "oci-mount/base/unique_fd.h"

namespace layerboot::test {

class HungFileSystem {
 public:
  /// The file's, of zeroes. Each read of it is asked for.
  static constexpr std::size_t kFileBytes = std::size_t{1} << 20;

  /// Mounts itself on `place`, which takes root.
  explicit HungFileSystem(std::filesystem::path place);
  ~HungFileSystem();
  HungFileSystem(const HungFileSystem&) = delete;
  HungFileSystem& operator=(const HungFileSystem&) = delete;

  [[nodiscard]] bool mounted() const { return mounted_; }
  void stop_answering();
  /// Returns when somebody waits for an answer; false where nobody does for a minute. After
  /// stop_answering().
  [[nodiscard]] bool wait_for_question() const;

 private:
  void answer_until_stopped();
  void answer_one();

  std::filesystem::path place_;
  UniqueFd device_;
  bool mounted_ = false;
  std::atomic<bool> over_ = false;
  std::thread thread_;
};

}  // namespace layerboot::test
