// What a Docker engine answers, taken apart. The engine runs in the guest, which is not trusted.
#pragma once

#include <cstddef>
#include <cstdint>
#include <set>
#include <string>
#include <string_view>

#include "oci-mount/base/result.h"

namespace layerboot::launcher {

/// Where the engine listens, in every distribution.
inline constexpr const char* kDockerSocket = "/run/docker.sock";
inline constexpr std::size_t kMaxDockerAnswerBytes = std::size_t{4} << 20;

/// The question, whose answer ends with the connection and comes as it is.
std::string docker_request(std::string_view path);

/// The body of a whole answer, as it came from the socket. EBADMSG where it is none, or one that says no.
Result<std::string> docker_body(std::string_view answer);

/// The TCP ports in the answer to `GET /containers/json` that are reached at the guest's own 127.0.0.1.
/// EBADMSG where it is no such answer. Source: Docker Engine API 1.41, "List containers".
Result<std::set<std::uint16_t>> published_ports(std::string_view answer);

}  // namespace layerboot::launcher
