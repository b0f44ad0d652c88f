// Calls of the host that may take it long, as this program makes them: a test is there while one is under
// way.
#pragma once

#include <functional>

namespace layerboot::test {

enum class HostCall { kFsync, kFdatasync, kSeek, kReadDirectory, kExtents };

/// While it lives, another thread makes `request` before each such call of this program goes on: it is
/// answered meanwhile, or has to wait for who makes the call. One at a time.
class RequestsMeanwhile {
 public:
  RequestsMeanwhile(HostCall call, std::function<void()> request);
  RequestsMeanwhile(const RequestsMeanwhile&) = delete;
  RequestsMeanwhile& operator=(const RequestsMeanwhile&) = delete;
  /// Waits for the last request.
  ~RequestsMeanwhile();

  /// Of the first kMostRequests calls.
  [[nodiscard]] int calls() const;
  /// Of these, those at which the request had to wait.
  [[nodiscard]] int made_others_wait() const;

  static constexpr int kMostRequests = 8;
};

/// While it lives, the host says of no file which extents it has, as tmpfs. One at a time.
class WithoutExtents {
 public:
  WithoutExtents();
  WithoutExtents(const WithoutExtents&) = delete;
  WithoutExtents& operator=(const WithoutExtents&) = delete;
  ~WithoutExtents();
};

}  // namespace layerboot::test
