// Starts a program in the image, as the image would have it started.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "guest-init/exit_codes.h"
#include "guest-init/fd.h"
#include "guest-init/workload.h"

namespace guest_init {

/// For programs that nobody gives another one.
inline constexpr const char* kDefaultPath =
    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

enum class Stdio {
  kPipes,     // three pipes
  kTerminal,  // a new pseudo terminal, whose master end is `input`; `output` is a second descriptor of it
  kNothing,   // /dev/null
  kConsole,   // the machine's console: nothing for us to read or write
};

struct SpawnPlan {
  int root = -1;  // the image's root directory: the program's /. Lent
  Stdio stdio = Stdio::kPipes;
  std::vector<std::string> command;
  std::string connect;              // instead of a command: see SessionRequest
  std::uint64_t grow_bytes = 0;     // instead of a command: see SessionRequest
  bool freeze = false;              // instead of a command: see SessionRequest
  std::optional<CopyRequest> copy;  // instead of a command
  std::vector<std::string> environment;
  std::string user;
  std::string directory;
  bool make_directory = false;  // where it is missing
  bool own_group = false;       // session_group.h
  std::uint16_t rows = 0;
  std::uint16_t columns = 0;
};

struct Spawned {
  pid_t pid = -1;
  Fd pidfd;
  Fd input;   // to the program's standard input
  Fd output;  // from its standard output
  Fd error;   // from its standard error
};

/// Why a program could not be started: one of exit_codes.h, and a line for a person.
struct SpawnFailure {
  int code = kNotStarted;
  std::string text;
};

/// Returns when the program runs, or has failed to. All descriptors of ours are close-on-exec, and those in
/// `spawned` do not block.
bool spawn(const SpawnPlan& plan, Spawned& spawned, SpawnFailure& failure);

/// The plan for a request on top of the image's configuration. The environment: the image's, then the
/// request's, each name once.
[[nodiscard]] SpawnPlan plan_session(const ImageWorkload& image, const SessionRequest& request, int root);

}  // namespace guest_init
