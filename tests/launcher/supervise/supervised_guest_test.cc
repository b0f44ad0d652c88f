// What the supervisor makes of what a guest says and does: its workload, its console, its boot.
#include <fcntl.h>
#include <pty.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <optional>
#include <utility>

#include "guest-init/agent_protocol.h"
#include "oci-mount/base/unique_fd.h"
#include "tests/launcher/supervise/supervisor_fixture.h"

namespace layerboot::launcher {
namespace {

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

TEST_F(SupervisorTest, ACommandsStatusCountsWhereThePowerOffIsNotTold) {
  std::string end;
  guest_init::append_number(end, 1, guest_init::FrameType::kExit, 7);
  std::ofstream(scratch_.path() / "end", std::ios::binary) << end;
  const auto run = [this](const std::string& and_then) {
    daemon(kDaemonServes);
    qemu("answer 2; cat end >&6; " + and_then);
    plan_.guest.emplace();
    plan_.guest->agent_socket = scratch_.path() / "agent.sock";
    auto outcome = supervise(plan_);
    std::filesystem::remove(scratch_.path() / "never");
    return outcome;
  };
  const auto outcome = run("exit 0");
  ASSERT_TRUE(outcome) << outcome.error().describe();
  EXPECT_EQ(*outcome, 7);
  expect_error(run("say '{\"event\": \"SHUTDOWN\", \"data\": {\"guest\": false}}'; exit 0"),
               "stopped from outside");
  expect_error(run("exit 1"), "QEMU failed");
}

TEST_F(SupervisorTest, AStopIsDoneWhereThePowerOffIsNotTold) {
  daemon(kDaemonServes);
  plan_.power_button = false;
  qemu("answer 1; printf 'login: ' >&4; kill -TERM $PPID; head -c 8 <&6 > asked; exit 0");
  plan_.guest.emplace();
  plan_.guest->agent_socket = scratch_.path() / "agent.sock";
  const auto outcome = supervise(plan_);
  ASSERT_TRUE(outcome) << outcome.error().describe();
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

}  // namespace
}  // namespace layerboot::launcher
