#include "launcher/host/network_check.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "oci-mount/base/unique_fd.h"

namespace layerboot::launcher {

Result<void> check_port_free(const std::string& address, std::uint16_t port, bool udp) {
  sockaddr_in wanted{};
  wanted.sin_family = AF_INET;
  wanted.sin_port = htons(port);
  if (::inet_pton(AF_INET, address.c_str(), &wanted.sin_addr) != 1) {
    return fail(EINVAL, "'", address, "' is no IPv4 address");
  }
  const UniqueFd socket(::socket(AF_INET, (udp ? SOCK_DGRAM : SOCK_STREAM) | SOCK_CLOEXEC, 0));
  if (!socket) return errno_error("socket");
  // A port whose last connection is still in TIME_WAIT is free to whoever listens.
  const int yes = 1;
  if (!udp && ::setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes)) != 0) {
    return errno_error("setsockopt");
  }
  if (::bind(socket.get(), reinterpret_cast<const sockaddr*>(&wanted), sizeof(wanted)) == 0) return {};
  const char* protocol = udp ? "udp" : "tcp";
  if (errno == EADDRINUSE) {
    return fail(EADDRINUSE, "port ", port, '/', protocol, " of ", address,
                " is in use by another program or VM: publish another, or end the other");
  }
  if (errno == EACCES) {
    return fail(EACCES, "port ", port, '/', protocol, " is for root alone: take one from 1024 on");
  }
  if (errno == EADDRNOTAVAIL) return fail(EADDRNOTAVAIL, address, " is no address of this machine");
  return errno_error("cannot listen at ", address, ':', port);
}

Result<std::uint16_t> find_free_port(const std::string& address, bool udp) {
  sockaddr_in wanted{};
  wanted.sin_family = AF_INET;
  if (::inet_pton(AF_INET, address.c_str(), &wanted.sin_addr) != 1) {
    return fail(EINVAL, "'", address, "' is no IPv4 address");
  }
  const UniqueFd socket(::socket(AF_INET, (udp ? SOCK_DGRAM : SOCK_STREAM) | SOCK_CLOEXEC, 0));
  if (!socket) return errno_error("socket");
  socklen_t size = sizeof(wanted);
  auto* generic = reinterpret_cast<sockaddr*>(&wanted);
  if (::bind(socket.get(), generic, size) != 0 || ::getsockname(socket.get(), generic, &size) != 0) {
    return errno_error("no port of ", address, " is free");
  }
  return ntohs(wanted.sin_port);
}

Result<void> check_interface(const std::string& name) {
  if (::if_nametoindex(name.c_str()) != 0) return {};
  return fail(ENODEV, "there is no interface ", name, ": make it with 'ip tuntap add dev ", name,
              " mode tap', and join it to what it is to lead to");
}

}  // namespace layerboot::launcher
