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

/// The image's configuration (OCI image spec, config.md). A record each, named as in `[]`.
struct ImageWorkload {
  std::vector<std::string> entrypoint;   // [entrypoint]
  std::vector<std::string> command;      // [cmd]
  std::vector<std::string> environment;  // [env] "NAME=VALUE"
  std::string user;                      // [user] "name", "uid", "name:group", "uid:gid"; empty: root
  std::string directory;                 // [cwd] empty: /
  std::vector<std::string> volumes;      // [volume] paths
  std::string stop_signal;               // [stop-signal] "SIGTERM", "15"; empty: SIGTERM
};

/// One session. A record each, named as in `[]`.
struct SessionRequest {
  bool main = false;                   // [main] the VM's own workload: its end is the VM's end
  std::string connect;                 // [connect] no program: a socket, "/path" or a TCP port of the guest
  std::uint64_t grow_bytes = 0;        // [grow] no program: the guest's own upper gets this large
  std::vector<std::string> arguments;  // [arg] empty with main: the image's own command
  std::optional<std::vector<std::string>> entrypoint;  // [entrypoint] replaces the image's; main only
  std::vector<std::string> environment;                // [env]
  std::string user;                                    // [user] empty: the image's
  std::string directory;                               // [cwd] empty: the image's
  bool terminal = false;                               // [tty] "ROWSxCOLUMNS"
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
