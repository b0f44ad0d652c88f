// The file of a listening Unix socket: who makes one takes the name from whoever has died with it, and who
// removes one must not remove the next one's. unlink(2) knows names alone, so both are done in turn.
#pragma once

#include <filesystem>
#include <string>

#include "oci-mount/base/result.h"
#include "oci-mount/base/unique_fd.h"

namespace layerboot {

/// One's turn at the names of sockets in a directory: an exclusive flock(2) of it, from the look whose a name
/// is to what is done with it. In a directory that can't be locked (it may not be read), or that somebody
/// keeps locked for longer than kPatience, there are no turns, and a name may be lost between two who want it
/// at one moment. Nothing is refused for that.
class SocketNamesTurn {
 public:
  explicit SocketNamesTurn(int directory);
  SocketNamesTurn(const SocketNamesTurn&) = delete;
  SocketNamesTurn& operator=(const SocketNamesTurn&) = delete;
  ~SocketNamesTurn();

 private:
  int locked_ = -1;
};

/// A file that is to go: `name` in `directory`, as long as it is that very one. Calls that it makes: flock,
/// clock_nanosleep, fstatat and unlinkat.
struct SocketFile {
  UniqueFd directory;
  std::string name;
  UniqueFd file;  // held, so that no other gets its number meanwhile

  /// Opens the directory of `path`: for flock(2) where it may be read, by O_PATH where not. There is no
  /// `file` yet.
  static Result<SocketFile> at(const std::filesystem::path& path);
  /// Opens the file: for who has just bound it, in the same turn. ENOENT and the like where there is none.
  Result<void> hold();
  /// Takes a turn. Leaves a file alone that has taken its name.
  void remove() const;
};

}  // namespace layerboot
