// layerboot run whose VM comes to nothing: what was there before is there afterwards.
#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <fstream>

#include "oci-mount/base/str_cat.h"
#include "oci-mount/base/unique_fd.h"
#include "tests/process/mount_support.h"
#include "tests/support/image_builder.h"
#include "tests/support/tar_builder.h"
#include "tests/support/temp_dir.h"

namespace layerboot::test {
namespace {

namespace fs = std::filesystem;

std::string content(const fs::path& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

/// With a QEMU that ends before it has run anything, and a kernel that nobody boots.
class FailedRunTest : public testing::Test {
 protected:
  void SetUp() override {
    ImageBuilder image(dir_ / "image");
    image.add_gzip_layer(TarBuilder().file("hello", "x").finish()).write();
    reference_ = "oci:" + image.layout().string() + ":latest";
    fs::create_directories(dir_ / "kernel");
    std::ofstream(dir_ / "kernel/vmlinuz") << "none";
    std::ofstream(dir_ / "kernel/release") << "6.1.0-test\n";
    std::ofstream(dir_ / "kernel/config") << "CONFIG_VIRTIO_FS=y\n";
    std::ofstream(dir_ / "qemu") << "#!/bin/sh\nexit 3\n";
    fs::permissions(dir_ / "qemu", fs::perms::owner_all);
  }
  Outcome layerboot(std::vector<std::string> words) const {
    words.insert(words.begin(), {"env", "XDG_DATA_HOME=" + (dir_ / "data").string(),
                                 "XDG_RUNTIME_DIR=" + (dir_ / "run").string(), LAYERBOOT_LAUNCHER});
    return run_program(words, dir_ / "cache");
  }
  Outcome run(const std::vector<std::string>& more) const {
    std::vector<std::string> words = {"run",          reference_,
                                      "--kernel",     (dir_ / "kernel").string(),
                                      "--qemu",       (dir_ / "qemu").string(),
                                      "--vfsd",       LAYERBOOT_VFSD,
                                      "--guest-init", LAYERBOOT_GUEST_INIT,
                                      "--accel",      "tcg"};
    words.insert(words.end(), more.begin(), more.end());
    return layerboot(words);
  }
  fs::path vms() const { return dir_ / "data/layerboot/vms"; }
  /// A VM of another image that has run before, and written something.
  void make_vm(const std::string& name) const {
    fs::create_directories(vms() / name / "disk");
    std::ofstream(vms() / name / "written") << "dear";
    std::ofstream(vms() / name / "config.json") << record_of(name);
  }
  static std::string record_of(const std::string& name) {
    return str_cat(R"({"image":"debian:12","machine_id":"0123456789abcdef0123456789abcdef","name":")", name,
                   R"(","quota_bytes":1000000000,"run":{"memory_bytes":2000683008},"version":1})");
  }

  TempDir dir_;
  std::string reference_;
};

TEST_F(FailedRunTest, LeavesNothingOfANewVm) {
  const Outcome outcome = run({"--name", "new"});
  EXPECT_EQ(outcome.exit_code, 1) << outcome.err;
  EXPECT_FALSE(fs::exists(vms() / "new"));
}

TEST_F(FailedRunTest, KeepsWhatAVmIsRememberedBy) {
  make_vm("old");
  const Outcome outcome = run({"--name", "old", "--memory", "3G", "--disk", "9G"});
  EXPECT_EQ(outcome.exit_code, 1) << outcome.err;
  EXPECT_EQ(content(vms() / "old/config.json"), record_of("old"));
  EXPECT_EQ(content(vms() / "old/written"), "dear");
}

TEST_F(FailedRunTest, AThrowAwayRunRemovesNoOthersVm) {
  make_vm("old");
  const Outcome named = run({"--rm", "--name", "old"});
  EXPECT_EQ(named.exit_code, 1);
  EXPECT_NE(named.err.find("there already"), std::string::npos) << named.err;
  EXPECT_EQ(content(vms() / "old/written"), "dear");
  // The name that the image gives is taken as well: another is made of it, and goes with the run.
  const std::string by_default = "image-latest";
  make_vm(by_default);
  const Outcome unnamed = run({"--rm"});
  EXPECT_EQ(unnamed.exit_code, 1);
  EXPECT_EQ(unnamed.err.find("there already"), std::string::npos) << unnamed.err;
  EXPECT_EQ(content(vms() / by_default / "written"), "dear");
  EXPECT_FALSE(fs::exists(vms() / (by_default + "-2")));
}

TEST_F(FailedRunTest, APortInUseIsFoundBeforeAnythingStarts) {
  const UniqueFd taken(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size_bytes = sizeof(address);
  ASSERT_EQ(::bind(taken.get(), reinterpret_cast<sockaddr*>(&address), size_bytes), 0);
  ASSERT_EQ(::listen(taken.get(), 1), 0);
  ASSERT_EQ(::getsockname(taken.get(), reinterpret_cast<sockaddr*>(&address), &size_bytes), 0);
  const Outcome outcome = run({"--name", "new", "-p", str_cat(ntohs(address.sin_port), ":80")});
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_NE(outcome.err.find("is in use"), std::string::npos) << outcome.err;
  EXPECT_FALSE(fs::exists(vms() / "new"));
}

}  // namespace
}  // namespace layerboot::test
