#include "tests/support/host_calls.h"

#include <dirent.h>
#include <dlfcn.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdarg>
#include <cstdint>
#include <future>
#include <mutex>

namespace layerboot::test {

namespace {

/// Who is not answered in this time waits for the call.
constexpr std::chrono::seconds kLongEnough{5};

struct Watch {
  HostCall call;
  std::function<void()> request;
  int calls = 0;
  int made_others_wait = 0;
  std::future<void> unanswered;
};
std::mutex mutex;
std::atomic<Watch*> watch = nullptr;
std::atomic<bool> without_extents = false;

void before(HostCall call) {
  if (watch.load(std::memory_order_relaxed) == nullptr) return;
  const int code = errno;  // readdir(3) leaves it as it is at the end
  const std::unique_lock lock(mutex, std::try_to_lock);
  Watch* const now = watch.load();
  if (!lock || now == nullptr || now->call != call) return;
  if (now->calls == RequestsMeanwhile::kMostRequests || now->unanswered.valid()) return;
  ++now->calls;
  auto answer = std::async(std::launch::async, now->request);
  if (answer.wait_for(kLongEnough) != std::future_status::ready) {
    ++now->made_others_wait;
    now->unanswered = std::move(answer);
  }
  errno = code;
}

}  // namespace

RequestsMeanwhile::RequestsMeanwhile(HostCall call, std::function<void()> request) {
  watch.store(new Watch{.call = call, .request = std::move(request), .unanswered = {}});
}

RequestsMeanwhile::~RequestsMeanwhile() {
  const std::lock_guard lock(mutex);
  delete watch.exchange(nullptr);
}

int RequestsMeanwhile::calls() const {
  const std::lock_guard lock(mutex);
  return watch.load()->calls;
}

int RequestsMeanwhile::made_others_wait() const {
  const std::lock_guard lock(mutex);
  return watch.load()->made_others_wait;
}

WithoutExtents::WithoutExtents() { without_extents = true; }
WithoutExtents::~WithoutExtents() { without_extents = false; }

}  // namespace layerboot::test

// In the C library's place, for all of the program.
extern "C" {

int fsync(int fd) {
  layerboot::test::before(layerboot::test::HostCall::kFsync);
  return static_cast<int>(::syscall(SYS_fsync, fd));
}

int fdatasync(int fd) {
  layerboot::test::before(layerboot::test::HostCall::kFdatasync);
  return static_cast<int>(::syscall(SYS_fdatasync, fd));
}

off64_t lseek64(int fd, off64_t offset, int whence) noexcept {
  layerboot::test::before(layerboot::test::HostCall::kSeek);
  return ::syscall(SYS_lseek, fd, offset, whence);
}

int ioctl(int fd, unsigned long request, ...) noexcept {
  va_list rest;
  va_start(rest, request);
  void* const argument = va_arg(rest, void*);
  va_end(rest);
  if (request == FS_IOC_FIEMAP) {
    if (layerboot::test::without_extents) {
      errno = EOPNOTSUPP;
      return -1;
    }
    layerboot::test::before(layerboot::test::HostCall::kExtents);
  }
  return static_cast<int>(::syscall(SYS_ioctl, fd, request, argument));
}

dirent64* readdir64(DIR* directory) {
  layerboot::test::before(layerboot::test::HostCall::kReadDirectory);
  using Read = dirent64* (*)(DIR*);
  static const Read read = reinterpret_cast<Read>(::dlsym(RTLD_NEXT, "readdir64"));
  return read(directory);
}
}
