// SlowProxy: a TCP proxy on loopback that lets its clients read no faster than it is told.
#pragma once

#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

#include "oci-mount/base/unique_fd.h"

namespace layerboot::test {

/// Ends, and all its connections with it, with this object.
class SlowProxy {
 public:
  /// Forwards connections to loopback's `target_port`.
  explicit SlowProxy(int target_port);
  ~SlowProxy();
  SlowProxy(const SlowProxy&) = delete;
  SlowProxy& operator=(const SlowProxy&) = delete;

  [[nodiscard]] int port() const { return port_; }
  /// What each connection's client gets a second, at most; 0: all there is.
  void set_bytes_per_second(std::uint64_t rate) { rate_ = rate; }

 private:
  void accept_all();
  void serve(int client_fd);
  /// Copies until either end closes.
  void pump(int from, int to, bool slowly);

  int target_port_;
  UniqueFd listener_;
  int port_ = -1;
  std::atomic<std::uint64_t> rate_{0};
  std::atomic<bool> ending_{false};
  std::vector<std::thread> connections_;
  std::thread acceptor_;
};

/// A TCP socket on loopback, bound to a free port; gives the port.
int bind_loopback(const UniqueFd& socket);
/// Connected to loopback's `port`; invalid if nobody listens.
UniqueFd connect_loopback(int port);

}  // namespace layerboot::test
