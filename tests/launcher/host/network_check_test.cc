#include "launcher/host/network_check.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <sys/socket.h>

#include "oci-mount/base/unique_fd.h"

namespace layerboot::launcher {
namespace {

/// A socket of this kind at a port of the kernel's choice.
struct Taken {
  explicit Taken(int type) : socket(::socket(AF_INET, type | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size_bytes = sizeof(address);
    EXPECT_EQ(::bind(socket.get(), reinterpret_cast<sockaddr*>(&address), size_bytes), 0);
    if (type == SOCK_STREAM) {
      EXPECT_EQ(::listen(socket.get(), 1), 0);
    }
    EXPECT_EQ(::getsockname(socket.get(), reinterpret_cast<sockaddr*>(&address), &size_bytes), 0);
    port = ntohs(address.sin_port);
  }
  UniqueFd socket;
  std::uint16_t port = 0;
};

TEST(NetworkCheck, SeesWhoListens) {
  for (const bool udp : {false, true}) {
    Taken taken(udp ? SOCK_DGRAM : SOCK_STREAM);
    const auto refused = check_port_free("127.0.0.1", taken.port, udp);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, EADDRINUSE);
    EXPECT_NE(refused.error().text.find(std::to_string(taken.port)), std::string::npos);
    taken.socket.reset();
    EXPECT_TRUE(check_port_free("127.0.0.1", taken.port, udp));
  }
}

TEST(NetworkCheck, SaysWhenTheAddressIsNotOurs) {
  const auto refused = check_port_free("192.0.2.1", 18'080, false);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, EADDRNOTAVAIL);
}

TEST(NetworkCheck, AnInterfaceMustBeThere) {
  EXPECT_TRUE(check_interface("lo"));
  const auto refused = check_interface("lb-no-such");
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ENODEV);
  EXPECT_NE(refused.error().text.find("ip tuntap add dev lb-no-such"), std::string::npos);
}

}  // namespace
}  // namespace layerboot::launcher
