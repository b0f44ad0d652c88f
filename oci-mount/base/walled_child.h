// A child process for work on foreign bytes, since who parses them can be taken over by them.
//
// The child is the same program, started again (/proc/self/exe) with an argument of its own: to go on without
// exec(2) in the fork of a process with threads would be to go on with their locks. It finds open what it was
// given and nothing else, and shuts itself in (walls.h). Nothing it says or writes is to be believed.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <initializer_list>
#include <string>
#include <utility>

#include "oci-mount/base/result.h"
#include "oci-mount/base/unique_fd.h"

namespace layerboot {

/// Of what a child is given, the first; the others follow, its end of the socket as the last.
inline constexpr int kFirstChildFd = 3;

/// From its start to its end. What is not awaited is killed.
class WalledChild {
 public:
  struct Plan {
    std::string name;      // what `ps` calls it
    std::string argument;  // by which main() knows it
    int socket_type = 0;   // SOCK_SEQPACKET or SOCK_STREAM
  };
  /// `descriptors` are lent until it has started; in the child they are kFirstChildFd and so on.
  static Result<WalledChild> start(const Plan& plan, std::initializer_list<int> descriptors);
  WalledChild(WalledChild&& other) noexcept
      : pid_(std::exchange(other.pid_, -1)), socket_(std::move(other.socket_)) {}
  WalledChild& operator=(WalledChild&&) = delete;
  ~WalledChild();

  /// Our end.
  [[nodiscard]] int socket() const { return socket_.get(); }
  [[nodiscard]] pid_t pid() const { return pid_; }

  struct End {
    int signal = 0;  // that ended it, or its own child
    int exit_code = 0;
    std::uint64_t cpu_seconds = 0;
  };
  /// Waits for it, once.
  End await();

 private:
  WalledChild(pid_t pid, UniqueFd socket) : pid_(pid), socket_(std::move(socket)) {}

  pid_t pid_;
  UniqueFd socket_;
};

/// Of a child that ended without a word: how, as the end of a sentence about the process.
std::string how_it_broke_down(const WalledChild::End& end);

}  // namespace layerboot
