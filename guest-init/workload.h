// What to run in the guest, and as whom: the image's configuration, and one request made on top of it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace guest_init {

/// Where the VM layer holds the image's configuration, as records.
inline constexpr const char* kWorkloadFile = "/.layerboot/workload";

/// The image's configuration (OCI image spec, config.md), and what the VM adds to it. A record each, named as
/// in `[]`.
struct ImageWorkload {
  std::vector<std::string> entrypoint;   // [entrypoint]
  std::vector<std::string> command;      // [cmd]
  std::vector<std::string> environment;  // [env] "NAME=VALUE"
  std::string user;                      // [user] "name", "uid", "name:group", "uid:gid"; empty: root
  std::string directory;                 // [cwd] empty: /
  std::vector<std::string> volumes;      // [volume] paths
  std::string stop_signal;               // [stop-signal] "SIGTERM", "15"; empty: SIGTERM
  std::string root_password = {};        // [root-password] the VM's: a hash for root's entry in /etc/shadow
  bool autologin = false;                // [autologin] the VM's: root, on the console
  std::vector<std::string> tmpfs = {};   // [tmpfs] "PATH:OPTIONS", the VM's: mounted before its first process
};

/// Files that are to be copied, as a tar on the session's output or input.
struct CopyRequest {
  bool in = false;      // [copy-in] into the guest; else [copy-out]
  std::string path;     // what, or where to, with Docker's rules for what is there and for a '/' at its end
  std::string name;     // [copy-name] in the tar, of what is copied out, and what a directory gets for the
                        // tar's first component; empty: the tar's names are those below `path`
  bool follow = false;  // [copy-follow] a symlink at the end of `path`
  bool owners = false;  // [copy-owners] are kept of what is copied in; else it is root's
  bool file = false;    // [copy-kind] "file": only that can be had
  bool directory = false;  // [copy-kind] "directory": the same
};

/// One session. A record each, named as in `[]`.
struct SessionRequest {
  bool main = false;                   // [main] the VM's own workload: its end is the VM's end
  std::string connect;                 // [connect] no program: a socket, "/path" or a TCP port of the guest
  std::uint64_t grow_bytes = 0;        // [grow] no program: the guest's own upper gets this large
  bool freeze = false;                 // [freeze] no program: what the guest writes stands still
  std::optional<CopyRequest> copy;     // no program
  std::vector<std::string> arguments;  // [arg] empty with main: the image's own command
  std::optional<std::vector<std::string>> entrypoint;  // [entrypoint] replaces the image's; main only
  std::vector<std::string> environment;                // [env]
  std::string user;                                    // [user] empty: the image's
  std::string directory;                               // [cwd] empty: the image's
  bool detached = false;  // [detach] nobody listens: its streams are /dev/null, the session ends when it runs
  bool terminal = false;  // [tty] "ROWSxCOLUMNS"
  std::uint16_t rows = 0;
  std::uint16_t columns = 0;
};

[[nodiscard]] std::string encode_workload(const ImageWorkload& workload);
/// Unknown records are skipped. Nothing when `bytes` are no records.
[[nodiscard]] std::optional<ImageWorkload> decode_workload(std::string_view bytes);

[[nodiscard]] std::string encode_request(const SessionRequest& request);
[[nodiscard]] std::optional<SessionRequest> decode_request(std::string_view bytes);

/// Entrypoint and command of the main workload, as Docker joins them: another entrypoint drops the image's
/// command, arguments replace it.
[[nodiscard]] std::vector<std::string> main_command(const ImageWorkload& image,
                                                    const SessionRequest& request);

/// Whether the command's program is an init by its name: /sbin/init, systemd and the like.
[[nodiscard]] bool names_init(const std::vector<std::string>& command);

/// "SIGTERM", "TERM", "RTMIN+3", "15"; 0 when it is none.
[[nodiscard]] int signal_number(std::string_view name);

}  // namespace guest_init
