// Between the host and code that parses foreign bytes: what a child of walled_child.h shuts behind itself.
//
// What is left is memory, time and the descriptors that are open. The order is: leave_host(), threads,
// limit_use(), allow_only_what_is_open(). Why it is as it is: oci-mount/layer/DESIGN.md, "Walls".
#pragma once

#include <cstdint>
#include <initializer_list>

#include "oci-mount/base/result.h"

namespace layerboot {

/// What a child ends with where its own child was ended by signal N: this and N, as a shell has it.
inline constexpr int kSignalExitCode = 128;

/// For a process with one thread: no new privileges; network, IPC, mounts and process numbers of its own, and
/// an empty root, where the host gives them; without the rights of root, and as nobody (65534) where it was
/// root and may change that. It dies with its parent.
///
/// Where process numbers of its own are to be had it returns in a child: the caller waits for that, and ends
/// as it does (128 + N by signal N), with `first_fd` and all descriptors above it closed.
Result<void> leave_host(int first_fd);

/// `signal` comes when the parent ends, which was `parent` before; at once where that has ended already. 0:
/// none does. What a change of user or of rights takes away (prctl(2), PR_SET_PDEATHSIG).
Result<void> end_with_parent(int signal, pid_t parent);

/// Where this is root and may be somebody else: as nobody from here on, in no group; and without root's
/// capabilities, unless PR_SET_KEEPCAPS says otherwise. For a process with one thread.
void become_nobody();

struct WallLimits {
  std::uint64_t memory_bytes = 0;  // of address space, the program's own counted
  std::uint64_t cpu_seconds = 0;   // then SIGKILL
  std::uint64_t file_bytes = 0;    // of one file; then EFBIG
};
/// And no further thread, process or descriptor, and no core file. A limit that is lower already stays.
Result<void> limit_use(const WallLimits& limits);

/// From now on all threads have memory, their clocks and locks, reading and writing by descriptor, and their
/// end; and `more` system calls. Those that are `refused` give EPERM, any other ends the process. Not in a
/// sanitizer's build, whose library makes calls of its own.
Result<void> allow_only_what_is_open(std::initializer_list<int> more = {},
                                     std::initializer_list<int> refused = {});

}  // namespace layerboot
