// What the host can't write back is told once by each descriptor: to us, where a worker has the host write,
// and then it is for us to tell the client.
#include <gtest/gtest.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdlib>
#include <iostream>
#include <thread>

#include "oci-mount/base/str_cat.h"
#include "tests/oci-mount/vfs/image_fixture.h"

namespace layerboot::test {
namespace {

/// So many may be allocated late that a worker has the host write them.
constexpr int kFiles = 1500;
constexpr std::uint64_t kBlock = 4096;

/// From here on this process and its threads are told EIO by sync_file_range(2), as of a disk that fails.
bool fail_write_back() {
  constexpr unsigned kNumber = __NR_sync_file_range;
  std::array filter{
      sock_filter BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      sock_filter BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, kNumber, 0, 1),
      sock_filter BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EIO),
      sock_filter BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  const sock_fprog program{.len = filter.size(), .filter = filter.data()};
  return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
         ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

class WriteBackErrorTest : public testing::Test, protected ImageFixture {
 protected:
  WriteBackErrorTest() : ImageFixture({TarBuilder().directory("etc").finish()}) {}

  int fsync(const std::string& name) {
    const auto node = driver->acquire(name);
    const auto done = driver->reactor->block_on(fs->fsync(*driver->reactor, node, false));
    driver->release(node);
    return done ? 0 : done.error().code;
  }
  /// "" where all is as it should be.
  std::string errors_are_told() {
    if (!fail_write_back()) return "no filter";
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
    // The worker begins by itself, with those that were written to first.
    int told = 0;
    for (int tries = 0; tries < 300 && told == 0; ++tries) {
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
      told = fsync("f0");
    }
    if (told != EIO) return str_cat("the first fsync says ", told);
    if (const int again = fsync("f0"); again != 0) return str_cat("and another one says ", again);
    return {};
  }
};

TEST_F(WriteBackErrorTest, AnErrorThatAWorkerWasToldIsTheClientsToo) {
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
