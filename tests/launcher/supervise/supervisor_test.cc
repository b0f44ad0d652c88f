#include "launcher/supervise/supervisor.h"

#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>

#include "launcher/host/signals.h"
#include "oci-mount/base/unique_fd.h"
#include "tests/launcher/supervise/supervisor_fixture.h"

namespace layerboot::launcher {
namespace {

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

TEST_F(SupervisorTest, ButNotForGood) {
  daemon(kDaemonServes);
  qemu(
      "say '{\"event\": \"SHUTDOWN\", \"data\": {\"guest\": true}}'; trap '' TERM\n"
      "mkfifo stuck; exec 7<>stuck; kill -TERM $PPID; while :; do read -r nothing <&7; done");
  plan_.bounds.clear_up = milliseconds(100);
  plan_.bounds.quit = milliseconds(20);
  expect_error(supervise(plan_), "after the guest was off");
  EXPECT_TRUE(log().ends_with("flushed\n")) << log();
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

TEST_F(SupervisorTest, AWishForTheEndIsKnownWheneverItComes) {
  bool asked = false;
  plan_.stop_asked = &asked;
  const auto ends_asked = [&] {
    asked = false;
    std::filesystem::remove(scratch_.path() / "log");
    std::filesystem::remove(scratch_.path() / "never");
    // Whether it ended well is another question.
    [[maybe_unused]] const auto outcome = supervise(plan_);
    return asked;
  };
  daemon(kDaemonServes);
  qemu("power_off");
  EXPECT_FALSE(ends_asked());
  qemu("kill -TERM $PPID; hear system_powerdown; power_off");
  EXPECT_TRUE(ends_asked()) << "a stop";
  qemu("kill -QUIT $PPID; hear quit; exit 0");
  EXPECT_TRUE(ends_asked()) << "a kill";
  qemu("power_off");
  daemon("trap 'exit 0' TERM; kill -TERM $PPID; while :; do :; done");
  EXPECT_TRUE(ends_asked()) << "before QEMU is started";
  daemon("trap 'kill -TERM $PPID; sleep 1; note flushed; exit 0' TERM; ready; while :; do sleep 0.1; done");
  EXPECT_TRUE(ends_asked()) << "while a daemon flushes";
}

TEST_F(SupervisorTest, AGuestThatOnlyResetsIsGivenUp) {
  daemon(kDaemonServes);
  qemu(
      "for i in 1 2 3 4 5; do say '{\"event\": \"RESET\", \"data\": {\"guest\": true}}'; sleep 2.1; done; "
      "hear quit; exit 0");
  expect_error(supervise(plan_), "reset itself");
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
    const auto listener = listen_at(plan_.socket);
    if (!listener || ::write(write_end.get(), "!", 1) != 1) ::_exit(1);
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

TEST_F(SupervisorTest, ADaemonStoppedBeforeItWasReadyHasLostNothing) {
  daemon("kill -TERM $PPID; while :; do :; done");
  const auto outcome = supervise(plan_);
  EXPECT_TRUE(outcome) << outcome.error().describe();
}

TEST_F(SupervisorTest, ADaemonThatTheSignalKilledWhileItServedIsNamed) {
  daemon("ready; sleep 0.3; kill -TERM $PPID; while :; do :; done");
  expect_error(supervise(plan_), "vfsd ended with signal 15");
}

TEST_F(SupervisorTest, ServingAloneFailsAsTheDaemonDoes) {
  daemon("ready; exit 4");
  const auto outcome = supervise(plan_);
  ASSERT_FALSE(outcome);
  EXPECT_EQ(outcome.error().text, "");
}

}  // namespace
}  // namespace layerboot::launcher
