// HeldUser: a user id that nobody else on this machine has, for one process.
#pragma once

#include <unistd.h>

#include <filesystem>
#include <string>
#include <utility>

#include "oci-mount/base/result.h"
#include "oci-mount/base/unique_fd.h"

namespace layerboot::launcher {

/// Holds an id against the other processes that use this runtime directory, by a locked file, for as long as
/// it lives.
class HeldUser {
 public:
  HeldUser() = default;  // none
  HeldUser(UniqueFd file, std::filesystem::path path) : file_(std::move(file)), path_(std::move(path)) {}
  HeldUser(HeldUser&& other) noexcept = default;
  HeldUser& operator=(HeldUser&& other) noexcept {
    std::swap(file_, other.file_);
    std::swap(path_, other.path_);
    return *this;
  }
  ~HeldUser() {
    // While it is locked: who opens the name from now on makes a file of its own.
    if (file_) ::unlink(path_.c_str());
  }
  explicit operator bool() const { return static_cast<bool>(file_); }

 private:
  UniqueFd file_;
  std::filesystem::path path_;
};

struct FreeUser {
  unsigned id = 0;        // 0: none was to be had
  bool is_mapped = true;  // false: nor ever will be here, in a user namespace without ids for that
  HeldUser held;
};

/// An id, of users and groups, that no account has, no process and nobody else who asked for one here; out of
/// the range that systemd keeps for such. The same for the same `seed`, as long as nobody has it.
Result<FreeUser> free_user(const std::filesystem::path& runtime, const std::string& seed);

/// Whether this process may become another user at all: it is root, and not without that right.
[[nodiscard]] bool can_change_user();

}  // namespace layerboot::launcher
