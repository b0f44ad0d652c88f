// A vfsd in its sandbox, serving a small image to a fake guest.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "tests/process/vfsd_process.h"
#include "tests/support/fake_guest_fuse.h"
#include "tests/support/image_builder.h"
#include "tests/support/tar_builder.h"
#include "tests/support/temp_dir.h"

namespace layerboot::test {

class SandboxedVfsd : public testing::Test {
 protected:
  void SetUp() override {
    TarBuilder tar;
    tar.directory("etc").file("etc/hostname", "lower\n").file("file", "from the image");
    ImageBuilder image(dir_ / "image");
    image.add_gzip_layer(tar.finish());
    image.write();
  }

  /// `more` comes after the socket, the image and --quiet.
  void start(std::vector<std::string> more = {}) {
    std::vector<std::string> words{"--socket-path", dir_ / "s", "--image", "oci:" + (dir_ / "image").string(),
                                   "--quiet"};
    words.insert(words.end(), more.begin(), more.end());
    vfsd_ = std::make_unique<VfsdProcess>(std::move(words), dir_ / "cache");
    ASSERT_TRUE(vfsd_->ready()) << vfsd_->messages();
  }
  void start_writable(std::vector<std::string> more = {}, const std::string& quota = "256M") {
    more.insert(more.end(), {"--upper", dir_ / "upper", "--quota", quota});
    start(std::move(more));
  }
  void boot(FakeGuestOptions options = {}) {
    auto guest = FakeGuest::connect(dir_ / "s", options);
    ASSERT_TRUE(guest) << guest.error().describe();
    guest_ = std::move(*guest);
    const auto booted = guest_->boot();
    ASSERT_TRUE(booted) << booted.error().describe();
    client_.emplace(*guest_, 1);
    const auto init = client_->init();
    ASSERT_TRUE(init) << init.error().describe();
  }
  std::filesystem::path proc(const std::string& name) const {
    return "/proc/" + std::to_string(vfsd_->pid()) + "/" + name;
  }
  std::size_t open_descriptors() const {
    std::size_t count = 0;
    for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(proc("fd"))) ++count;
    return count;
  }

  TempDir dir_;
  std::unique_ptr<VfsdProcess> vfsd_;
  std::unique_ptr<FakeGuest> guest_;
  std::optional<FuseClient> client_;
};

}  // namespace layerboot::test
