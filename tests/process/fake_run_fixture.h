// FakeRunTest: `layerboot run` of a small image, with a kernel that nobody boots and a script in QEMU's
// place.
#pragma once

#include <gtest/gtest.h>

#include <fstream>

#include "oci-mount/base/str_cat.h"
#include "tests/process/mount_support.h"
#include "tests/support/image_builder.h"
#include "tests/support/tar_builder.h"
#include "tests/support/temp_dir.h"

namespace layerboot::test {

namespace fs = std::filesystem;

class FakeRunTest : public testing::Test {
 protected:
  void SetUp() override {
    ImageBuilder image(dir_ / "image");
    image.add_gzip_layer(TarBuilder().file("hello", "x").finish()).write();
    reference_ = "oci:" + image.layout().string() + ":latest";
    fs::create_directories(dir_ / "kernel");
    std::ofstream(dir_ / "kernel/vmlinuz") << "none";
    std::ofstream(dir_ / "kernel/release") << "6.1.0-test\n";
    std::ofstream(dir_ / "kernel/config") << "CONFIG_VIRTIO_FS=y\n";
  }
  /// What QEMU is from now on.
  void be_qemu(const std::string& script) const {
    std::ofstream(dir_ / "qemu") << script;
    fs::permissions(dir_ / "qemu", fs::perms::owner_all);
  }
  /// A QEMU that ends before it has run anything.
  void be_broken_qemu() const { be_qemu("#!/bin/sh\nexit 3\n"); }
  std::vector<std::string> words_of(std::vector<std::string> words) const {
    words.insert(words.begin(), {"env", "XDG_DATA_HOME=" + (dir_ / "data").string(),
                                 "XDG_RUNTIME_DIR=" + (dir_ / "run").string(), LAYERBOOT_LAUNCHER});
    return words;
  }
  Outcome layerboot(std::vector<std::string> words) const {
    return run_program(words_of(std::move(words)), dir_ / "cache");
  }
  std::vector<std::string> run_words(const std::vector<std::string>& more) const {
    std::vector<std::string> words = {"run",          reference_,
                                      "--kernel",     (dir_ / "kernel").string(),
                                      "--qemu",       (dir_ / "qemu").string(),
                                      "--vfsd",       LAYERBOOT_VFSD,
                                      "--guest-init", LAYERBOOT_GUEST_INIT,
                                      "--accel",      "tcg"};
    words.insert(words.end(), more.begin(), more.end());
    return words;
  }
  Outcome run(const std::vector<std::string>& more) const { return layerboot(run_words(more)); }
  fs::path vms() const { return dir_ / "data/layerboot/vms"; }

  TempDir dir_;
  std::string reference_;
};

}  // namespace layerboot::test
