// Daemons that end under a VM, and those that do not end when they are to.
#include <sys/ptrace.h>
#include <sys/wait.h>

#include <atomic>
#include <fstream>
#include <thread>

#include "tests/launcher/supervise/supervisor_fixture.h"

namespace layerboot::launcher {
namespace {

TEST_F(SupervisorTest, AVolumesDaemonThatDiesTakesNothingWithIt) {
  for (const char* end : {"kill -KILL $$", "exit 0", "exit 3"}) {
    SCOPED_TRACE(end);
    std::filesystem::remove(scratch_.path() / "log");
    std::filesystem::remove(scratch_.path() / "never");
    daemon(kDaemonServes);
    plan_.daemons.push_back(
        fake("vfsd of data", str_cat("echo ready >&3; exec 3>&-; mkfifo gone; read -r word < gone; ", end)));
    qemu("echo go > gone; sleep 0.3; rm gone; power_off");
    plan_.bounds.same_end = milliseconds(20);
    testing::internal::CaptureStderr();
    const auto outcome = supervise(plan_);
    const std::string said = testing::internal::GetCapturedStderr();
    EXPECT_TRUE(outcome) << outcome.error().describe();
    EXPECT_EQ(log(), "started\nqmp_capabilities\noff\nflushed\n");
    EXPECT_NE(said.find("vfsd of data ended with"), std::string::npos) << said;
  }
}

TEST_F(SupervisorTest, AGuestThatRestartsWithoutItsVolumeIsStopped) {
  daemon(kDaemonServes);
  plan_.daemons.push_back(
      fake("vfsd of data", "echo ready >&3; exec 3>&-; mkfifo gone; read -r word < gone; exit 3"));
  qemu(
      "echo go > gone; sleep 0.3; say '{\"event\": \"RESET\", \"data\": {\"guest\": true}}'; hear quit\n"
      "say '{\"return\": {}, \"id\": 2}'; exit 0");
  expect_error(supervise(plan_), "the guest restarts, and vfsd of data has ended");
}

/// Holds a process at the last step of its end, as the kernel holds one in a system call that does not come
/// back.
class HeldAtItsEnd {
 public:
  explicit HeldAtItsEnd(std::filesystem::path pid_file)
      : pid_file_(std::move(pid_file)), holding_([this] { hold(); }) {}
  ~HeldAtItsEnd() {
    over_ = true;
    holding_.join();
    if (pid_ > 0) ::waitpid(pid_, nullptr, 0);
  }
  HeldAtItsEnd(const HeldAtItsEnd&) = delete;
  HeldAtItsEnd& operator=(const HeldAtItsEnd&) = delete;
  [[nodiscard]] bool holds() const { return pid_ > 0; }

 private:
  void hold() {
    while (!over_ && pid_ <= 0) {
      pid_t pid = 0;
      std::ifstream(pid_file_) >> pid;
      if (pid > 0 && ::ptrace(PTRACE_SEIZE, pid, nullptr, PTRACE_O_TRACEEXIT) == 0) pid_ = pid;
      std::this_thread::sleep_for(milliseconds(1));
    }
    while (!over_) std::this_thread::sleep_for(milliseconds(10));
    // With this thread ends what it traces with.
  }

  std::filesystem::path pid_file_;
  std::atomic<bool> over_ = false;
  std::atomic<pid_t> pid_ = -1;
  std::thread holding_;
};

TEST_F(SupervisorTest, ADaemonThatCannotBeKilledIsLeftBehind) {
  daemon("trap '' TERM; while [ ! -e held ]; do :; done; ready; while :; do :; done");
  const HeldAtItsEnd held(scratch_.path() / "daemon.pid");
  plan_.bounds.flush = milliseconds(20);
  plan_.bounds.kill = milliseconds(100);
  std::thread telling([&] {
    while (!held.holds()) std::this_thread::sleep_for(milliseconds(1));
    std::ofstream(scratch_.path() / "held") << "x";
  });
  qemu("power_off");
  expect_error(supervise(plan_), "vfsd was left behind");
  telling.join();
}

}  // namespace
}  // namespace layerboot::launcher
