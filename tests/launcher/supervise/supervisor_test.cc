#include "launcher/supervise/supervisor.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <pty.h>
#include <sys/ioctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <fstream>
#include <thread>

#include "launcher/host/signals.h"
#include "oci-mount/base/unique_fd.h"
#include "tests/launcher/scratch_dir.h"

namespace layerboot::launcher {
namespace {

using std::chrono::milliseconds;

// What every fake daemon and QEMU can say. They note what happens to them in the file "log".
constexpr const char* kDaemonStart = R"(
note() { echo "$1" >> log; }
ready() { echo ready >&3; exec 3>&-; }
echo $$ > daemon.pid
)";
// It waits without a child of its own: a child that is signalled between fork and exec would outlive it.
constexpr const char* kDaemonServes = R"(
trap 'note flushed; exit 0' TERM
mkfifo never
exec 4<>never
ready
while :; do read -r nothing <&4; done
)";
constexpr const char* kQemuStart = R"(
note() { echo "$1" >> log; }
say() { printf '%s\r\n' "$1" >&5; }
hear() { read -r line <&5; case $line in *"$1"*) note "$1";; *) note "not $1: $line";; esac; }
note started
say '{"QMP": {}}'
hear qmp_capabilities
say '{"return": {}, "id": 1}'
power_off() { say '{"event": "SHUTDOWN", "data": {"guest": true}}'; note off; exit 0; }
# The agent's answer to the hello: the hello itself, but for the kind of guest, 1 or 2, in its 26th byte.
answer() {
  head -c 44 <&6 > hello
  { head -c 25 hello; printf "\\00$1"; tail -c 18 hello; } >&6
}
)";

UniqueFd listen_at(const std::filesystem::path& path) {
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, path.c_str(), sizeof(address.sun_path) - 1);
  EXPECT_EQ(::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
  EXPECT_EQ(::listen(fd.get(), 8), 0);
  return fd;
}

class SupervisorTest : public testing::Test {
 protected:
  void SetUp() override {
    plan_.socket = scratch_.path() / "s.sock";
    plan_.console_input = input_.get();
    plan_.console_output = output_.get();
    listener_ = listen_at(plan_.socket);
  }
  void TearDown() override {
    EXPECT_EQ(::waitpid(-1, nullptr, WNOHANG), -1) << "a child is left";
    EXPECT_EQ(errno, ECHILD);
  }
  ChildSpec fake(const char* name, const std::string& body) {
    const auto script = scratch_.script(name, str_cat("cd ", scratch_.path().string(), "\n", body));
    return {.label = name, .argv = {script.string()}};
  }
  /// The root's, ours.
  void daemon(const std::string& body) {
    plan_.daemons = {fake("vfsd", kDaemonStart + body)};
    plan_.socket.clear();
  }
  void qemu(const std::string& body) { plan_.vmm = fake("QEMU", kQemuStart + body); }
  void expect_error(const Result<int>& outcome, const std::string& about) {
    ASSERT_FALSE(outcome);
    EXPECT_NE(outcome.error().text.find(about), std::string::npos) << outcome.error().describe();
  }
  std::string log() { return scratch_.read("log"); }

  ScratchDir scratch_;
  UniqueFd input_{::open("/dev/null", O_RDONLY | O_CLOEXEC)};
  UniqueFd output_{
      ::open((scratch_.path() / "out").c_str(), O_CREAT | O_WRONLY | O_APPEND | O_CLOEXEC, 0600)};
  UniqueFd listener_;
  SupervisorPlan plan_;
};

TEST_F(SupervisorTest, TheGuestPowersOff) {
  daemon(kDaemonServes);
  qemu("printf 'login: ' >&4; power_off");
  const auto outcome = supervise(plan_);
  EXPECT_TRUE(outcome) << outcome.error().describe();
  EXPECT_EQ(log(), "started\nqmp_capabilities\noff\nflushed\n") << "QEMU first, then the daemon";
  EXPECT_EQ(scratch_.read("out"), "login: ");
}

TEST_F(SupervisorTest, TheTimelineTellsTheIndexFromTheDaemon) {
  daemon("ready() { echo ready indexes_open_us=1000 ready_us=1001 new=word >&3; exec 3>&-; }" +
         std::string(kDaemonServes));
  qemu("printf 'layerboot: timing: kernel\\nlayerboot: timing: initrd -0\\n' >&4; power_off");
  Timeline timeline;
  plan_.timeline = &timeline;
  const auto outcome = supervise(plan_);
  ASSERT_TRUE(outcome) << outcome.error().describe();
  std::string names;
  for (const auto& mark : timeline.marks()) {
    // QEMU's greeting and its guest's first words come by two sockets.
    if (mark.name != "QEMU runs") names += mark.name + "\n";
  }
  EXPECT_EQ(names, "daemons started\nindexes open\ndaemons ready\nQEMU started\nkernel\ninitrd\n");
}

TEST_F(SupervisorTest, ADaemonOfOneVmMayEndBeforeQemuIsSeenTo) {
  daemon("ready; exit 0");
  qemu("while kill -0 $(cat daemon.pid); do :; done 2>/dev/null; power_off");
  // The fake daemon is a zombie until it is reaped, so QEMU here ends after its end was seen.
  plan_.bounds.same_end = milliseconds(60'000);
  const auto outcome = supervise(plan_);
  EXPECT_TRUE(outcome) << outcome.error().describe();
}

TEST_F(SupervisorTest, QemuMayTakeItsTimeOnceTheGuestIsOff) {
  daemon("mkfifo over; ready; read -r word < over; exit 0");
  // The daemon's end is seen long before QEMU's, which waits until it is reaped.
  qemu(
      "say '{\"event\": \"SHUTDOWN\", \"data\": {\"guest\": true}}'; echo go > over\n"
      "while kill -0 $(cat daemon.pid); do :; done 2>/dev/null; i=0\n"
      "while [ $i -lt 20000 ]; do i=$((i + 1)); done; note off");
  plan_.bounds.same_end = milliseconds(1);
  const auto outcome = supervise(plan_);
  EXPECT_TRUE(outcome) << outcome.error().describe();
  EXPECT_TRUE(log().ends_with("off\n")) << log();
}

TEST_F(SupervisorTest, ADaemonThatFailsHasSaidWhyItself) {
  daemon("exit 3");
  qemu("power_off");
  const auto outcome = supervise(plan_);
  ASSERT_FALSE(outcome);
  EXPECT_EQ(outcome.error().text, "");
  EXPECT_EQ(log(), "") << "QEMU must not be started";
}

TEST_F(SupervisorTest, ADaemonKilledBeforeItIsReadyIsNamed) {
  daemon("kill -KILL $$");
  qemu("power_off");
  expect_error(supervise(plan_), "vfsd ended with signal 9");
}

TEST_F(SupervisorTest, ADaemonThatEndsWithoutAWord) {
  daemon("exit 0");
  qemu("power_off");
  expect_error(supervise(plan_), "ended before it was ready");
}

TEST_F(SupervisorTest, ADaemonThatRunsOnWithoutAWord) {
  daemon("exec 3>&-; trap - TERM; exec sleep 1000");
  qemu("power_off");
  plan_.bounds.quit = milliseconds(20);
  expect_error(supervise(plan_), "did not say that it is ready");
}

TEST_F(SupervisorTest, ADaemonThatTalksNonsense) {
  daemon("echo hello >&3; exec 3>&-; exec sleep 1000");
  qemu("power_off");
  expect_error(supervise(plan_), "something else");
}

TEST_F(SupervisorTest, ADaemonThatNeverEndsItsLine) {
  daemon("while :; do printf ready >&3; done 2>/dev/null");
  qemu("power_off");
  expect_error(supervise(plan_), "something else");
}

TEST_F(SupervisorTest, TheDaemonDies) {
  daemon("ready; exec sleep 1000");
  qemu("kill -KILL $(cat daemon.pid); hear quit; say '{\"return\": {}, \"id\": 2}'; exit 0");
  expect_error(supervise(plan_), "vfsd ended with signal 9 (Killed): the VM was stopped");
  EXPECT_EQ(log(), "started\nqmp_capabilities\nquit\n");
}

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

TEST_F(SupervisorTest, QemuFails) {
  daemon(kDaemonServes);
  qemu("exit 1");
  expect_error(supervise(plan_), "QEMU failed with exit status 1");
  EXPECT_TRUE(log().ends_with("flushed\n")) << log();
}

TEST_F(SupervisorTest, QemuIsKilledFromOutside) {
  daemon(kDaemonServes);
  qemu("kill -KILL $$");
  expect_error(supervise(plan_), "QEMU failed with signal 9");
  EXPECT_TRUE(log().ends_with("flushed\n")) << log();
}

TEST_F(SupervisorTest, QemuIsStoppedFromOutside) {
  daemon(kDaemonServes);
  qemu("exit 0");
  expect_error(supervise(plan_), "stopped from outside");
}

TEST_F(SupervisorTest, QemuIsNotThere) {
  daemon(kDaemonServes);
  plan_.vmm = ChildSpec{.label = "QEMU", .argv = {"/no/such/qemu"}};
  expect_error(supervise(plan_), "/no/such/qemu");
  EXPECT_EQ(log(), "flushed\n");
}

TEST_F(SupervisorTest, ASignalPowersTheGuestOff) {
  for (const char* name : {"TERM", "INT", "HUP"}) {
    std::filesystem::remove(scratch_.path() / "log");
    daemon(kDaemonServes);
    qemu(str_cat("kill -", name,
                 " $PPID; hear system_powerdown; say '{\"return\": {}, \"id\": 2}'; power_off"));
    const auto outcome = supervise(plan_);
    EXPECT_TRUE(outcome) << name << ": " << outcome.error().describe();
    EXPECT_EQ(log(), "started\nqmp_capabilities\nsystem_powerdown\noff\nflushed\n") << name;
  }
}

TEST_F(SupervisorTest, TheSecondSignalStopsItAtOnce) {
  daemon(kDaemonServes);
  qemu("kill -TERM $PPID; hear system_powerdown; kill -TERM $PPID; hear quit; exit 0");
  expect_error(supervise(plan_), "stopped at once");
  EXPECT_EQ(log(), "started\nqmp_capabilities\nsystem_powerdown\nquit\nflushed\n");
}

TEST_F(SupervisorTest, AGuestThatDoesNotPowerOffIsStopped) {
  daemon(kDaemonServes);
  qemu("kill -TERM $PPID; hear system_powerdown; hear quit; exit 0");
  plan_.bounds.power_down = milliseconds(20);
  expect_error(supervise(plan_), "did not power off");
  EXPECT_TRUE(log().ends_with("quit\nflushed\n")) << log();
}

TEST_F(SupervisorTest, AGuestThatDidNotHearTheButtonIsAskedAgain) {
  daemon(kDaemonServes);
  qemu(
      "kill -TERM $PPID; hear system_powerdown; say '{\"return\": {}, \"id\": 2}'\n"
      "hear system_powerdown; say '{\"return\": {}, \"id\": 3}'; power_off");
  plan_.bounds.ask_again = milliseconds(20);
  const auto outcome = supervise(plan_);
  EXPECT_TRUE(outcome) << outcome.error().describe();
  EXPECT_TRUE(log().starts_with("started\nqmp_capabilities\nsystem_powerdown\nsystem_powerdown\n")) << log();
}

TEST_F(SupervisorTest, AnUpperOfAnotherImageComesWithAdvice) {
  daemon("exit 3");
  qemu("power_off");
  plan_.other_image_advice = "layerboot reset it";
  expect_error(supervise(plan_), "layerboot reset it");
  EXPECT_EQ(log(), "");
}

TEST_F(SupervisorTest, AQemuThatDoesNotQuitIsKilled) {
  daemon(kDaemonServes);
  qemu("kill -QUIT $PPID; trap '' TERM; exec sleep 1000");
  plan_.bounds.quit = milliseconds(20);
  expect_error(supervise(plan_), "stopped at once");
  EXPECT_TRUE(log().ends_with("flushed\n")) << log();
}

TEST_F(SupervisorTest, ADaemonThatDoesNotEndIsKilledAndThatIsAnError) {
  daemon("trap '' TERM; ready; exec sleep 1000");
  qemu("power_off");
  plan_.bounds.flush = milliseconds(20);
  expect_error(supervise(plan_), "vfsd ended with signal 9");
}

TEST_F(SupervisorTest, IdleSignalsEndNothing) {
  ignore_idle_signals();
  daemon(kDaemonServes);
  qemu("for name in USR1 USR2 PIPE WINCH; do kill -$name $PPID; done; sleep 0.3; power_off");
  const auto outcome = supervise(plan_);
  EXPECT_TRUE(outcome) << outcome.error().describe();
  EXPECT_EQ(log(), "started\nqmp_capabilities\noff\nflushed\n");
}

TEST_F(SupervisorTest, ASignalBeforeTheVmStarts) {
  daemon("trap 'note flushed; exit 0' TERM; kill -INT $PPID; while :; do :; done");
  qemu("power_off");
  expect_error(supervise(plan_), "stopped before");
  EXPECT_EQ(log(), "flushed\n");
}

TEST_F(SupervisorTest, AGuestThatOnlyResetsIsGivenUp) {
  daemon(kDaemonServes);
  qemu(
      "for i in 1 2 3 4 5; do say '{\"event\": \"RESET\", \"data\": {\"guest\": true}}'; sleep 2.1; done; "
      "hear quit; exit 0");
  expect_error(supervise(plan_), "reset itself");
}

TEST_F(SupervisorTest, ACommandIsNotRunAgainAfterAReset) {
  daemon(kDaemonServes);
  qemu("say '{\"event\": \"RESET\", \"data\": {\"guest\": true}}'; hear quit; exit 0");
  plan_.guest.emplace();
  plan_.guest->agent_socket = scratch_.path() / "agent.sock";
  plan_.guest->expected = guest_init::GuestKind::kCommand;
  const auto outcome = supervise(plan_);
  ASSERT_TRUE(outcome) << outcome.error().describe();
  EXPECT_EQ(*outcome, kCommandLostStatus);
  EXPECT_TRUE(log().starts_with("started\nqmp_capabilities\nquit\n")) << log();
}

TEST_F(SupervisorTest, AStopBeforeTheCommandIsNoSuccess) {
  for (const auto& [signal, status] : {std::pair{"INT", 130}, std::pair{"TERM", 143}}) {
    SCOPED_TRACE(signal);
    daemon(kDaemonServes);
    qemu(str_cat("kill -", signal,
                 " $PPID; hear system_powerdown; say '{\"return\": {}, \"id\": 2}'; power_off"));
    plan_.guest.emplace();
    plan_.guest->agent_socket = scratch_.path() / "agent.sock";
    plan_.guest->expected = guest_init::GuestKind::kCommand;
    const auto outcome = supervise(plan_);
    ASSERT_TRUE(outcome) << outcome.error().describe();
    EXPECT_EQ(*outcome, status);
    std::filesystem::remove(scratch_.path() / "never");
  }
}

TEST_F(SupervisorTest, AStoppedBootIsNoSuccess) {
  // Also where nobody has looked at what the guest is, and where it has no agent.
  using Expected = std::optional<guest_init::GuestKind>;
  for (const Expected& expected : {Expected(guest_init::GuestKind::kInit), Expected()}) {
    daemon(kDaemonServes);
    qemu("printf 'layerboot: boot stopped: no init\\r\\nlayerboot: powering off\\r\\n' >&4; power_off");
    plan_.guest.emplace();
    plan_.guest->agent_socket = scratch_.path() / "agent.sock";
    plan_.guest->expected = expected;
    expect_error(supervise(plan_), "boot stopped: no init");
    std::filesystem::remove(scratch_.path() / "never");
  }
  daemon(kDaemonServes);
  plan_.guest.reset();
  expect_error(supervise(plan_), "boot stopped: no init");
}

TEST_F(SupervisorTest, AGuestThatEndsBeforeItIsKnownIsNoSuccess) {
  daemon(kDaemonServes);
  qemu("power_off");
  plan_.guest.emplace();
  plan_.guest->agent_socket = scratch_.path() / "agent.sock";
  expect_error(supervise(plan_), "before its command was run");
}

TEST_F(SupervisorTest, AGuestThatHasBootedMayPowerOff) {
  daemon(kDaemonServes);
  qemu("answer 1; printf 'login: ' >&4; power_off");
  plan_.guest.emplace();
  plan_.guest->agent_socket = scratch_.path() / "agent.sock";
  const auto outcome = supervise(plan_);
  ASSERT_TRUE(outcome) << outcome.error().describe();
  EXPECT_EQ(*outcome, 0);
}

/// Of a guest that is looked at before it has said what it is.
class LateAgentTest : public SupervisorTest {
 protected:
  void SetUp() override {
    SupervisorTest::SetUp();
    int ends[2] = {-1, -1};
    ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
    pipe_ = UniqueFd(ends[0]);
    const UniqueFd write_end(ends[1]);
    ASSERT_EQ(::write(write_end.get(), "typed line\n", 11), 11);
    plan_.console_input = pipe_.get();
    plan_.guest.emplace();
    plan_.guest->agent_socket = scratch_.path() / "agent.sock";
    plan_.bounds.hold = milliseconds(10);
    daemon(kDaemonServes);
  }
  /// The console is shown before `and_then`.
  void qemu_late(const std::string& and_then) {
    qemu("printf 'booting\\r\\n' >&4; until grep -q booting out; do sleep 0.02; done; sleep 0.2\n" +
         and_then);
  }

  UniqueFd pipe_;
};

TEST_F(LateAgentTest, TheCommandAloneHasTheInput) {
  // All that the session is told, up to the input's end, and then its exit code, 7.
  qemu_late(
      "answer 2; until grep -q typed frames; do dd bs=4096 count=1 <&6 >> frames 2>/dev/null; done\n"
      "head -c 4 frames > number; { cat number; printf '\\015\\0\\004\\0\\007\\0\\0\\0'; } >&6\n"
      "sleep 0.2; power_off");
  const auto outcome = supervise(plan_);
  ASSERT_TRUE(outcome) << outcome.error().describe();
  EXPECT_EQ(*outcome, 7);
  EXPECT_NE(scratch_.read("frames").find("typed line\n"), std::string::npos);
}

TEST_F(LateAgentTest, AnInitHasTheInputOnItsConsole) {
  qemu_late("answer 1; head -n 1 <&4 > heard; power_off");
  const auto outcome = supervise(plan_);
  ASSERT_TRUE(outcome) << outcome.error().describe();
  EXPECT_EQ(scratch_.read("heard"), "typed line\n");
}

TEST_F(LateAgentTest, AShellHasTheInputWhenItIsThereAndThenItsEnd) {
  plan_.guest->expected = guest_init::GuestKind::kInit;
  plan_.guest->shell_once = true;
  plan_.bounds.end_of_input = milliseconds(20);
  qemu(
      "sleep 0.2; printf 'layerboot: shell /bin/sh on the mounted root.\\r\\n' >&4\n"
      "head -c 15 <&4 > heard; power_off");
  const auto outcome = supervise(plan_);
  ASSERT_TRUE(outcome) << outcome.error().describe();
  EXPECT_EQ(scratch_.read("heard"), "typed line\n\n\x04\x04\x04");
}

TEST_F(LateAgentTest, AShellWithoutInputIsToldAtOnce) {
  plan_.guest->expected = guest_init::GuestKind::kInit;
  plan_.guest->shell_once = true;
  plan_.console_input = input_.get();
  qemu("printf 'layerboot: recovery shell; the root\\r\\n' >&4; head -c 2 <&4 > heard; power_off");
  const auto outcome = supervise(plan_);
  ASSERT_TRUE(outcome) << outcome.error().describe();
  EXPECT_EQ(scratch_.read("heard"), "\n\x04");
}

/// On a terminal of 33 rows and 101 columns.
TEST_F(LateAgentTest, TheConsolesTerminalHasTheSizeOfThisOne) {
  int outer = -1;
  int inner = -1;
  winsize size{.ws_row = 33, .ws_col = 101, .ws_xpixel = 0, .ws_ypixel = 0};
  ASSERT_EQ(::openpty(&outer, &inner, nullptr, nullptr, &size), 0);
  const UniqueFd person(outer);
  const UniqueFd terminal(inner);
  plan_.console_input = terminal.get();
  plan_.guest->expected = guest_init::GuestKind::kInit;
  // Of both frames, once it answers and when it is told that something has changed, session and type, and the
  // payload: 33 and 101, little-endian.
  qemu("answer 1; head -c 12 <&6 > first; kill -WINCH $PPID; head -c 12 <&6 > second; power_off");
  const auto outcome = supervise(plan_);
  ASSERT_TRUE(outcome) << outcome.error().describe();
  const std::string frame("\0\0\0\0\x06\0\x04\0\x21\0\x65\0", 12);
  EXPECT_EQ(scratch_.read("first"), frame);
  EXPECT_EQ(scratch_.read("second"), frame);
}

TEST_F(SupervisorTest, ResetsOfOursAndManyOfOneRebootAreFine) {
  daemon(kDaemonServes);
  qemu(
      "for i in 1 2 3 4 5 6 7; do say '{\"event\": \"RESET\", \"data\": {\"guest\": true}}'; done\n"
      "say '{\"event\": \"RESET\", \"data\": {\"guest\": false}}'; power_off");
  const auto outcome = supervise(plan_);
  EXPECT_TRUE(outcome) << outcome.error().describe();
}

TEST_F(SupervisorTest, NobodyServesTheSocket) {
  listener_.reset();
  qemu("power_off");
  expect_error(supervise(plan_), "layerboot serve");
  std::filesystem::remove(plan_.socket);
  expect_error(supervise(plan_), "layerboot serve");
  EXPECT_EQ(log(), "");
}

TEST_F(SupervisorTest, AForeignDaemonIsConnectedTo) {
  qemu("power_off");
  const auto outcome = supervise(plan_);
  EXPECT_TRUE(outcome) << outcome.error().describe();
}

TEST_F(SupervisorTest, AForeignDaemonDies) {
  std::filesystem::remove(plan_.socket);
  int up[2] = {-1, -1};
  ASSERT_EQ(::pipe2(up, O_CLOEXEC), 0);
  const UniqueFd read_end(up[0]);
  UniqueFd write_end(up[1]);
  const pid_t foreign = ::fork();
  ASSERT_GE(foreign, 0);
  if (foreign == 0) {
    const UniqueFd listener = listen_at(plan_.socket);
    if (::write(write_end.get(), "!", 1) != 1) ::_exit(1);
    for (;;) ::pause();
  }
  char c = 0;
  ASSERT_EQ(::read(read_end.get(), &c, 1), 1);
  plan_.bounds.same_end = milliseconds(20);
  qemu(str_cat("kill -KILL ", foreign, "; hear quit; exit 0"));
  expect_error(supervise(plan_), "has ended: the VM was stopped");
  ASSERT_EQ(::waitpid(foreign, nullptr, 0), foreign);
}

TEST_F(SupervisorTest, ServingAloneEndsWithASignal) {
  daemon("trap 'note flushed; exit 0' TERM; ready; kill -TERM $PPID; while :; do :; done");
  const auto outcome = supervise(plan_);
  EXPECT_TRUE(outcome) << outcome.error().describe();
  EXPECT_EQ(log(), "flushed\n");
}

TEST_F(SupervisorTest, ServingAloneFailsAsTheDaemonDoes) {
  daemon("ready; exit 4");
  const auto outcome = supervise(plan_);
  ASSERT_FALSE(outcome);
  EXPECT_EQ(outcome.error().text, "");
}

}  // namespace
}  // namespace layerboot::launcher
