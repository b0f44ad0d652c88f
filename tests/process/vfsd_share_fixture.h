// A directory of the host, served in place by a vfsd in its sandbox to a fake guest.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tests/process/vfsd_sandbox_fixture.h"

namespace layerboot::test {

class VfsdShareTest : public SandboxedVfsd {
 protected:
  void SetUp() override { std::filesystem::create_directory(host()); }
  void serve(std::vector<std::string> more = {}) {
    std::vector<std::string> words{"--socket-path", dir_ / "s", "--share", host(), "--quiet"};
    words.insert(words.end(), more.begin(), more.end());
    vfsd_ = std::make_unique<VfsdProcess>(std::move(words), dir_ / "cache");
    ASSERT_TRUE(vfsd_->ready()) << vfsd_->messages();
    boot({.request_queues = 1});
  }
  [[nodiscard]] std::filesystem::path host(const std::string& path = {}) const {
    return path.empty() ? dir_ / "share" : dir_ / "share" / path;
  }
  /// The node of a name in the directory.
  std::uint64_t node(std::string_view name) {
    const auto entry = client_->lookup(1, name);
    EXPECT_TRUE(entry) << name;
    return entry ? entry->nodeid : 0;
  }
};

}  // namespace layerboot::test
