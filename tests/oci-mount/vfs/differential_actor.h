// ActingAs: this thread as an operation's actor.
#pragma once

#include <grp.h>
#include <linux/capability.h>
#include <sys/fsuid.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <cstdlib>

#include "tests/oci-mount/vfs/differential.h"

namespace layerboot::test {

/// This thread is the actor for as long as this lives. Raw system calls: the C library's would change all
/// threads.
class ActingAs {
 public:
  explicit ActingAs(const Actor& actor) : is_root_(actor.is_root()), umask_(::umask(actor.umask)) {
    if (is_root_) return;
    const gid_t also = actor.also_in.value_or(0);
    require(::syscall(SYS_setgroups, actor.also_in ? 1 : 0, &also) == 0);
    ::setfsgid(actor.gid);
    ::setfsuid(actor.uid);
    give_capabilities(~(std::uint64_t{1} << CAP_FSETID));
  }
  ~ActingAs() {
    const int code = errno;
    ::umask(umask_);
    if (!is_root_) {
      ::setfsuid(0);
      ::setfsgid(0);
      require(::syscall(SYS_setgroups, 0, nullptr) == 0);
      give_capabilities(~std::uint64_t{0});
    }
    errno = code;
  }
  ActingAs(const ActingAs&) = delete;
  ActingAs& operator=(const ActingAs&) = delete;

 private:
  static void require(bool done) {
    if (!done) std::abort();
  }
  /// Of those that this process may have. setfsuid(2) has taken some away.
  static void give_capabilities(std::uint64_t wanted) {
    __user_cap_header_struct header{.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
    std::array<__user_cap_data_struct, 2> data{};
    require(::syscall(SYS_capget, &header, data.data()) == 0);
    for (std::size_t i = 0; i < data.size(); ++i) {
      data[i].effective = data[i].permitted & static_cast<std::uint32_t>(wanted >> (32 * i));
    }
    require(::syscall(SYS_capset, &header, data.data()) == 0);
  }

  bool is_root_;
  mode_t umask_;
};

}  // namespace layerboot::test
