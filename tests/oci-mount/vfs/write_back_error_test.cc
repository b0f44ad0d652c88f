// What the host can't write back is told once by each descriptor: to us, where a worker has the host write,
// and then it is for us to tell the client.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdlib>
#include <iostream>
#include <thread>

#include "oci-mount/base/files.h"
#include "oci-mount/base/str_cat.h"
#include "oci-mount/overlay/tariff.h"
#include "tests/oci-mount/vfs/image_fixture.h"

namespace layerboot::test {
namespace {

/// So many may be allocated late that a worker has the host write them.
constexpr int kFiles = 1500;
constexpr std::uint64_t kBlock = 4096;

/// What waits for a file to be written is told EIO the first time, and from then on takes as long as on a
/// slow disk.
class FailingDisk {
 public:
  /// From here on this process, and the threads that it starts, are told that by sync_file_range(2), for
  /// good.
  bool begin() {
    constexpr unsigned kNumber = __NR_sync_file_range;
    std::array filter{
        sock_filter BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
        sock_filter BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, kNumber, 0, 1),
        sock_filter BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
        sock_filter BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    const sock_fprog program{.len = filter.size(), .filter = filter.data()};
    if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return false;
    asked_ = static_cast<int>(
        ::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &program));
    if (asked_ < 0) return false;
    std::thread([this] { answer(); }).detach();
    return true;
  }
  [[nodiscard]] bool has_failed() const { return has_failed_; }

 private:
  void answer() {
    constexpr std::chrono::milliseconds kSlow{50};
    for (;;) {
      seccomp_notif question{};
      if (::ioctl(asked_, SECCOMP_IOCTL_NOTIF_RECV, &question) != 0) return;
      seccomp_notif_resp reply{.id = question.id, .val = 0, .error = 0, .flags = 0};
      if ((question.data.args[3] & SYNC_FILE_RANGE_WAIT_AFTER) != 0) {
        if (!has_failed_) reply.error = -EIO;
        if (has_failed_) std::this_thread::sleep_for(kSlow);
      }
      if (::ioctl(asked_, SECCOMP_IOCTL_NOTIF_SEND, &reply) != 0) return;
      if (reply.error != 0) has_failed_ = true;
    }
  }

  int asked_ = -1;
  std::atomic<bool> has_failed_ = false;
};

class WriteBackErrorTest : public testing::Test, protected ImageFixture {
 protected:
  WriteBackErrorTest() : ImageFixture({TarBuilder().directory("etc").finish()}) {}

  int fsync(const std::string& name) {
    const auto node = driver->acquire(name);
    const auto done = driver->reactor->block_on(fs->fsync(*driver->reactor, node, false));
    driver->release(node);
    return done ? 0 : done.error().code;
  }
  FailingDisk disk;

  /// "" where all is as it should be.
  std::string errors_are_told() {
    if (!disk.begin()) return "no filter";
    vfs::UpperOptions options;
    options.directory = directory / "vm";
    options.quota_bytes = 200U << 20;
    options.quota_inodes = 1U << 20;
    auto opened = vfs::make_writable_fs(*source, options);
    if (!opened) return opened.error().describe();
    fs = std::move(*opened);
    driver = std::make_unique<FsDriver>(*fs);
    for (int i = 0; i < kFiles; ++i) {
      const std::string name = str_cat("f", i);
      if (driver->create(name, "") != 0) return "no " + name;
      for (std::uint64_t piece = 0; piece < 6; ++piece) driver->write(name, piece * 16 * kBlock, "piece");
    }
    // The worker begins by itself, with those that were written to first; it is at work on others then.
    for (int tries = 0; tries < 6000 && !disk.has_failed(); ++tries)
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    if (!disk.has_failed()) return "no worker has had the host write";
    if (const int told = fsync("f0"); told != EIO) return str_cat("the first fsync says ", told);
    if (const int again = fsync("f0"); again != 0) return str_cat("and another one says ", again);
    return {};
  }
};

TEST_F(WriteBackErrorTest, AnErrorThatAWorkerWasToldIsTheClientsToo) {
  const UniqueFd host = *open_path(directory.path(), O_RDONLY | O_DIRECTORY);
  if (overlay::tariff_of(host.get()).late_growth(6 * kBlock) == 0)
    GTEST_SKIP() << "on this file system files take nothing late, and no worker has it write";
  // The filter stays for good.
  ASSERT_EXIT(
      {
        const std::string wrong = errors_are_told();
        std::cerr << wrong << '\n';
        std::_Exit(wrong.empty() ? 0 : 1);
      },
      testing::ExitedWithCode(0), "");
}

}  // namespace
}  // namespace layerboot::test
