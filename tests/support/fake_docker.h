// A Docker daemon that has one image: it answers every request for images with the same archive.
#pragma once

#include <atomic>
#include <filesystem>
#include <string>
#include <thread>

#include "oci-mount/base/unique_fd.h"

namespace layerboot::test {

/// Listens at `socket`; ended with this object.
class FakeDocker {
 public:
  /// `archive`: what `docker save` would give.
  FakeDocker(std::filesystem::path socket, std::string archive);
  ~FakeDocker();
  FakeDocker(const FakeDocker&) = delete;
  FakeDocker& operator=(const FakeDocker&) = delete;

  /// For DOCKER_HOST.
  [[nodiscard]] std::string address() const { return "unix://" + socket_.string(); }

 private:
  void answer_all();
  void answer(int client_fd) const;

  std::filesystem::path socket_;
  std::string archive_;
  UniqueFd listener_;
  std::atomic<bool> ending_ = false;
  std::thread thread_;
};

}  // namespace layerboot::test
