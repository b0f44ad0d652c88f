#include "launcher/disk/overlay_check.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <chrono>
#include <fstream>
#include <string>
#include <thread>

#include "launcher/disk/disk_build.h"
#include "launcher/disk/disk_vm.h"
#include "oci-mount/base/str_cat.h"
#include "oci-mount/base/unique_fd.h"
#include "tests/launcher/scratch_dir.h"

namespace layerboot::launcher {
namespace {

using namespace std::literals;
namespace fs = std::filesystem;

/// An overlay by qemu-img, as VMs have it.
class OverlayCheckTest : public testing::Test {
 protected:
  void SetUp() override {
    std::ofstream(base_) << "";
    fs::resize_file(base_, 8U << 20U);
    const auto made = make_overlay(base_, overlay_);
    if (!made && made.error().code == ENOENT) GTEST_SKIP() << made.error().describe();
    ASSERT_TRUE(made) << made.error().describe();
  }
  void forge(std::size_t at, std::string_view bytes) const {
    std::fstream file(overlay_, std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(static_cast<std::streamoff>(at));
    file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    ASSERT_TRUE(file.good());
  }
  /// What QEMU would be told of its base, as its own tool puts it there.
  void rebase(const std::string& to, const std::string& more = {}) const {
    const std::string command =
        str_cat("qemu-img rebase -u -f qcow2 -F raw -b '", to, "' ", more, ' ', overlay_.string());
    ASSERT_EQ(::system(command.c_str()), 0) << command;
  }
  void expect_refused(std::string_view about) const {
    const auto sound = check_overlay(overlay_, base_);
    ASSERT_FALSE(sound);
    EXPECT_NE(sound.error().text.find(about), std::string::npos) << sound.error().describe();
    EXPECT_NE(sound.error().text.find(overlay_.string()), std::string::npos);
    EXPECT_EQ(sound.error().describe().find('\n'), std::string::npos);
  }

  ScratchDir scratch_;
  fs::path base_ = scratch_.path() / "base.raw";
  fs::path overlay_ = scratch_.path() / "disk.qcow2";
};

TEST_F(OverlayCheckTest, IsContentWithWhatWeMade) {
  const auto sound = check_overlay(overlay_, base_);
  EXPECT_TRUE(sound) << sound.error().describe();
  forge(79, "\x01");  // left open by a QEMU that was killed
  EXPECT_TRUE(check_overlay(overlay_, base_));
}

TEST_F(OverlayCheckTest, RefusesAnotherBase) {
  for (const char* base : {"/etc/shadow", "/dev/sda",
                           "json:{\"driver\":\"file\",\"filename\":\"/etc/shadow\"}", "nbd:127.0.0.1:1"}) {
    rebase(base);
    expect_refused("another base");
  }
  rebase("/x\x1b[2J\n");
  expect_refused("/x\\033[2J\\012");
  rebase("");
  expect_refused("no base");
}

TEST_F(OverlayCheckTest, RefusesAnExternalDataFile) {
  forge(79, "\x04");
  expect_refused("external data file");
  forge(79, "\x05");
  expect_refused("external data file");
}

TEST_F(OverlayCheckTest, RefusesWhatItDoesNotKnow) {
  forge(72, "\x80");
  expect_refused("never uses");
  forge(72, "\0"sv);
  forge(35, "\x02");
  expect_refused("a key");
  forge(35, "\0"sv);
  forge(7, "\x04");
  expect_refused("no qcow2");
  forge(0, "RAW!");
  expect_refused("no qcow2");
}

TEST_F(OverlayCheckTest, BelievesNoSizeAndNoPlace) {
  forge(16, "\xff\xff\xff\xff");
  expect_refused("where no name is");
  forge(16, "\0\0\0\x10"sv);
  forge(8, "\xff\xff\xff\xff\xff\xff\xff\xff");
  expect_refused("where no name is");
  forge(8, "\x7f\0\0\0\xff\xff\xff\xff"sv);
  expect_refused("ends too soon");
  fs::resize_file(overlay_, 40);
  expect_refused("ends too soon");
}

// As an accomplice has it to whom a QEMU that was taken over has passed its descriptor.
TEST_F(OverlayCheckTest, RefusesOneThatSomebodyCanStillWrite) {
  UniqueFd writer(::open(overlay_.c_str(), O_RDWR | O_CLOEXEC));
  ASSERT_TRUE(writer);
  expect_refused("open for writing");
  void* const mapped = ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, writer.get(), 0);
  ASSERT_NE(mapped, MAP_FAILED);
  writer.reset();
  expect_refused("open for writing");
  ::munmap(mapped, 4096);
  EXPECT_TRUE(check_overlay(overlay_, base_));
}

TEST_F(OverlayCheckTest, LeavesNothingBehindThatStopsQemu) {
  const UniqueFd reader(::open(overlay_.c_str(), O_RDONLY | O_CLOEXEC));
  ASSERT_TRUE(check_overlay(overlay_, base_)) << "who only reads does no harm";
  const UniqueFd writer(::open(overlay_.c_str(), O_RDWR | O_NONBLOCK | O_CLOEXEC));
  EXPECT_TRUE(writer) << "no lease has to be broken";
}

TEST_F(OverlayCheckTest, WaitsForTheKernelToLetGo) {
  UniqueFd writer(::open(overlay_.c_str(), O_RDWR | O_CLOEXEC));
  std::thread later([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
    writer.reset();
  });
  const auto sound = check_overlay(overlay_, base_);
  later.join();
  EXPECT_TRUE(sound) << sound.error().describe();
}

TEST_F(OverlayCheckTest, FollowsAPersonsSymlinkAndWaitsForNoFifo) {
  fs::rename(overlay_, scratch_.path() / "elsewhere");
  fs::create_symlink("elsewhere", overlay_);
  EXPECT_TRUE(check_overlay(overlay_, base_));
  fs::remove(overlay_);
  ASSERT_EQ(::mkfifo(overlay_.c_str(), 0600), 0);
  EXPECT_FALSE(check_overlay(overlay_, base_));
}

}  // namespace
}  // namespace layerboot::launcher
