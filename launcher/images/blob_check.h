// Whether the store's blobs are what they are called.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "oci-mount/base/result.h"
#include "oci-mount/store/digest.h"

namespace layerboot::launcher {

struct BlobFinding {
  std::string digest;
  bool missing = false;
  std::string what;  // for people: "layer sha256:… is cut", …
};

/// Reads those of `digests` ("sha256:…") that are there, and names the ones whose bytes hash to something
/// else. `label` is what progress is shown as; empty: none. EINTR when interrupted.
Result<std::vector<BlobFinding>> check_blobs(const std::filesystem::path& store,
                                             const std::vector<std::string>& digests,
                                             const std::string& label);

/// Wrong blobs moved out of the way of those that are fetched instead, and back where none came: a process
/// may still get something out of them.
class SetAside {
 public:
  /// Moves the files into `directory`, on the store's file system.
  static Result<SetAside> move(const std::filesystem::path& store, const std::vector<BlobFinding>& wrong,
                               const std::filesystem::path& directory);
  SetAside(SetAside&&) noexcept = default;
  SetAside& operator=(SetAside&&) = delete;
  ~SetAside();

 private:
  struct Moved {
    std::filesystem::path from;
    std::filesystem::path to;
  };
  SetAside() = default;

  std::vector<Moved> moved_;
};

}  // namespace layerboot::launcher
