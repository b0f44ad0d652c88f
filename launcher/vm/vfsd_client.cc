#include "launcher/vm/vfsd_client.h"

#include <sys/socket.h>
#include <sys/time.h>

#include <array>
#include <string>

#include "launcher/host/unix_socket.h"
#include "launcher/vm/control_client.h"

namespace layerboot::launcher {

Result<nlohmann::json> ask_vfsd(const std::filesystem::path& socket_path, const nlohmann::json& request) {
  LB_ASSIGN(const UniqueFd socket, connect_to(socket_path));
  const timeval patience{.tv_sec = ControlClient::kPatience.count(), .tv_usec = 0};
  ::setsockopt(socket.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
  const std::string line = request.dump() + "\n";
  if (::send(socket.get(), line.data(), line.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(line.size())) {
    return errno_error("vfsd's control socket");
  }
  std::string text;
  while (!text.ends_with('\n') && text.size() < kMaxControlLineBytes) {
    std::array<char, 1024> chunk{};
    const auto got = ::recv(socket.get(), chunk.data(), chunk.size(), 0);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return fail(EPIPE, "vfsd did not answer");
    text.append(chunk.data(), static_cast<std::size_t>(got));
  }
  auto answer = nlohmann::json::parse(text, nullptr, false);
  if (answer.is_object() && answer.value("ok", false)) return answer;
  return fail(EPROTO, "vfsd refused: ", text.substr(0, text.find('\n')));
}

}  // namespace layerboot::launcher
