// Unix sockets as the launcher needs them.
#pragma once

#include <sys/socket.h>
#include <sys/types.h>

#include <filesystem>
#include <optional>
#include <utility>

#include "oci-mount/base/result.h"
#include "oci-mount/base/unique_fd.h"

namespace layerboot::launcher {

/// A connected pair of stream sockets, close-on-exec.
Result<std::pair<UniqueFd, UniqueFd>> socket_pair();

struct DaemonConnection {
  UniqueFd socket;
  pid_t daemon = 0;  // who listens; 0 when it is outside our PID namespace
};

/// ENAMETOOLONG, with the remedy, when `path` does not fit sockaddr_un (107 bytes and a NUL).
Result<void> check_socket_path(const std::filesystem::path& path);

/// Listens at `path` with mode 0600. A socket file that is left there must be removed before.
Result<UniqueFd> listen_at(const std::filesystem::path& path);

/// Connects to a stream socket, close-on-exec. The errno is connect(2)'s; EPERM where neither this process's
/// user nor root listens: a path that others can change leads to whom they like.
Result<UniqueFd> connect_to(const std::filesystem::path& path);
/// The same whoever listens: where the path is what a person has given, or nothing is said or heard.
Result<UniqueFd> connect_to_anyone(const std::filesystem::path& path);

/// Who is at the other end, as the kernel says (SO_PEERCRED); nothing, with errno, where it does not.
std::optional<ucred> credentials_of(int socket);
/// Of them it may command this process, and be believed.
bool is_us_or_root(const ucred& peer);

/// Who listens at the other end; 0 when it is outside our PID namespace.
pid_t peer_of(const UniqueFd& socket);

/// Connects to the vhost-user daemon that listens at `path`. The error says what to do when nobody does.
Result<DaemonConnection> connect_daemon(const std::filesystem::path& path);

}  // namespace layerboot::launcher
