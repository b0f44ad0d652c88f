// A FUSE file system with a file in it, "file", that stops answering when it is told to, as one over a
// network does.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <thread>
#include <vector>

#include "oci-mount/base/unique_fd.h"

namespace layerboot::test {

class HungFileSystem {
 public:
  /// The file's, of zeroes. Each read of it is asked for. Others are empty.
  static constexpr std::size_t kFileBytes = std::size_t{1} << 20;

  /// Mounts itself on `place`, which takes root. `others` are names of more files behind "file".
  explicit HungFileSystem(std::filesystem::path place, const std::vector<std::string>& others = {});
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
  /// 0 for none.
  [[nodiscard]] std::uint64_t node_of(const char* name) const;
  [[nodiscard]] std::vector<std::byte> listing(std::uint64_t offset) const;

  std::filesystem::path place_;
  std::vector<std::string> names_{"file"};
  UniqueFd device_;
  bool mounted_ = false;
  std::atomic<bool> over_ = false;
  std::thread thread_;
};

}  // namespace layerboot::test
