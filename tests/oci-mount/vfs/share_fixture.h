// A directory of the host, shared, with a client of it that speaks in paths.
#pragma once

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <string_view>

#include "oci-mount/vfs/share_fs.h"
#include "tests/oci-mount/vfs/fs_driver.h"
#include "tests/support/temp_dir.h"

namespace layerboot::test {

class ShareFsTest : public testing::Test {
 protected:
  void SetUp() override {
    ::umask(0);
    std::filesystem::create_directory(host());
    restart();
  }
  void restart() {
    driver_.reset();
    share_.reset();
    options_.directory = host();
    auto share = vfs::ShareFs::open(options_, workers_, memory_);
    ASSERT_TRUE(share) << share.error().describe();
    share_ = std::move(*share);
    driver_ = std::make_unique<FsDriver>(*share_);
  }
  [[nodiscard]] std::filesystem::path host(const std::string& path = {}) const {
    return path.empty() ? dir_ / "share" : dir_ / "share" / path;
  }
  static void put(const std::filesystem::path& path, const std::string& text) { std::ofstream(path) << text; }
  static std::string get(const std::filesystem::path& path) {
    std::ifstream file(path);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  static struct stat stat_of(const std::filesystem::path& path) {
    struct stat st{};
    EXPECT_EQ(::lstat(path.c_str(), &st), 0) << path;
    return st;
  }
  int write_node(vfs::NodeId node, std::string_view text) {
    const iovec piece{const_cast<char*>(text.data()), text.size()};
    const auto put = driver_->reactor->block_on(
        share_->write(*driver_->reactor, node, 0, {&piece, 1}, vfs::Writer::kPrivileged));
    return put ? 0 : put.error().code;
  }
  FsDriver& drive() { return *driver_; }

  const TempDir dir_;
  vfs::ShareOptions options_;
  MemoryBudget memory_;
  WorkerPool workers_{1};
  std::unique_ptr<vfs::ShareFs> share_;
  std::unique_ptr<FsDriver> driver_;
};

}  // namespace layerboot::test
