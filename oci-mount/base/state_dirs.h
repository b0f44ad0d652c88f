// Where Layerboot keeps its state: XDG directories for a user, /var and /run for root.
#pragma once

#include <filesystem>

#include "oci-mount/base/result.h"

namespace layerboot {

struct StateDirs {
  std::filesystem::path data;     // $XDG_DATA_HOME/layerboot    | /var/lib/layerboot: store, kernels, vms
  std::filesystem::path cache;    // $XDG_CACHE_HOME/layerboot   | /var/cache/layerboot: index, unpacked
  std::filesystem::path runtime;  // $XDG_RUNTIME_DIR/layerboot  | /run/layerboot: sockets

  [[nodiscard]] std::filesystem::path store() const { return data / "store"; }
  [[nodiscard]] std::filesystem::path kernels() const { return data / "kernels"; }
  [[nodiscard]] std::filesystem::path vms() const { return data / "vms"; }
  [[nodiscard]] std::filesystem::path index() const { return cache / "index"; }
  /// Archives of images that came compressed.
  [[nodiscard]] std::filesystem::path unpacked() const { return cache / "unpacked"; }

  /// Reads the environment; XDG variables count for root too, so that tests can move everything. But an
  /// XDG_RUNTIME_DIR of another user's, as plain su leaves it, is none: who owns it would answer for us.
  /// Makes nothing.
  static Result<StateDirs> from_environment();
};

}  // namespace layerboot
