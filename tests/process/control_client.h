// One connection to vfsd's control socket.
#pragma once

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

#include "oci-mount/base/unique_fd.h"

namespace layerboot::test {

class ControlClient {
 public:
  explicit ControlClient(const std::filesystem::path& path)
      : socket_(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, path.c_str(), sizeof(address.sun_path) - 1);
    connected_ = ::connect(socket_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0;
  }

  [[nodiscard]] bool connected() const { return connected_; }
  bool send(const std::string& bytes) {
    return ::send(socket_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL) ==
           static_cast<ssize_t>(bytes.size());
  }
  /// A line without its newline; empty when the daemon has hung up, or says nothing for 30 s.
  std::string receive() {
    constexpr int kPatienceMilliseconds = 30'000;
    std::string line;
    for (char c = 0;;) {
      pollfd readable{socket_.get(), POLLIN, 0};
      if (::poll(&readable, 1, kPatienceMilliseconds) <= 0) return "";
      if (::read(socket_.get(), &c, 1) != 1) return "";
      if (c == '\n') return line;
      line += c;
    }
  }
  nlohmann::json ask(const nlohmann::json& request) {
    if (!send(request.dump() + "\n")) return {};
    return nlohmann::json::parse(receive(), nullptr, false);
  }

 private:
  UniqueFd socket_;
  bool connected_ = false;
};

}  // namespace layerboot::test
