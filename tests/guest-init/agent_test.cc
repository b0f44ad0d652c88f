// The agent's real loop, in a process of its own, running real programs of this machine.
#include "guest-init/agent.h"

#include <algorithm>

#include <gtest/gtest.h>
#include <pty.h>
#include <sys/ioctl.h>
#include <sys/un.h>

#include <filesystem>

#include "guest-init/freeze_upper.h"
#include "guest-init/serial_console.h"
#include "tests/guest-init/agent_peer.h"

namespace guest_init {
namespace {

class Agent : public testing::Test {
 protected:
  void SetUp() override {
    if (geteuid() != 0) GTEST_SKIP() << "the agent is root in its guest: chroot needs root here too";
  }
};

SessionRequest request_for(std::vector<std::string> arguments) {
  SessionRequest request;
  request.arguments = std::move(arguments);
  return request;
}

TEST_F(Agent, HandsBackOutputErrorAndExitCode) {
  AgentPeer peer;
  peer.run(1, {"sh", "-c", "echo out; echo err >&2; exit 7"});
  const Heard& heard = peer.finish(1);
  EXPECT_EQ(heard.output, "out\n");
  EXPECT_EQ(heard.error, "err\n");
  EXPECT_EQ(heard.code, 7U);
}

TEST_F(Agent, TheConsoleHasTheSizeThatIsTold) {
  int outer = -1;
  int inner = -1;
  ASSERT_EQ(openpty(&outer, &inner, nullptr, nullptr, nullptr), 0);
  const Fd person(outer);
  const Fd terminal(inner);
  // An image whose serial line is that terminal.
  std::string root = (std::filesystem::temp_directory_path() / "agent_test-XXXXXX").string();
  ASSERT_NE(mkdtemp(root.data()), nullptr);
  std::filesystem::create_directories(root + "/dev");
  std::filesystem::create_symlink(ptsname(outer), root + "/dev/" + std::string(kSerialConsole));
  AgentPeer peer(GuestKind::kInit, {}, root);
  winsize size{};
  for (const std::uint32_t rows : {33U, 50U}) {
    peer.number(0, FrameType::kWindow, rows | 101U << 16U);
    peer.greet(static_cast<std::uint8_t>(rows));  // what came before has been dealt with
    EXPECT_EQ(ioctl(outer, TIOCGWINSZ, &size), 0);
    EXPECT_EQ(size.ws_row, rows);
    EXPECT_EQ(size.ws_col, 101);
  }
  std::filesystem::remove_all(root);
}

TEST_F(Agent, ExitCodesAreAShells) {
  AgentPeer peer;
  peer.run(1, {"sh", "-c", "kill -TERM $$"});
  peer.run(2, {"no-such-program-anywhere"});
  peer.run(3, {"/etc/passwd"});
  peer.run(4, {"/etc/passwd/none"});
  EXPECT_EQ(peer.finish(1).code, 128U + SIGTERM);
  EXPECT_EQ(peer.finish(2).code, 127U);
  EXPECT_NE(peer.finish(2).failure.find("no-such-program-anywhere: No such file"), std::string::npos);
  EXPECT_EQ(peer.finish(3).code, 126U);
  EXPECT_EQ(peer.finish(4).code, 127U);
}

TEST_F(Agent, InputGoesInAndItsEndIsSeen) {
  AgentPeer peer;
  peer.run(1, {"sh", "-c", "cat; echo ended"});
  peer.frame(1, FrameType::kInput, "one ");
  peer.frame(1, FrameType::kInput, "two\n");
  peer.frame(1, FrameType::kInputEnd);
  EXPECT_EQ(peer.finish(1).output, "one two\nended\n");
}

TEST_F(Agent, UserDirectoryAndEnvironmentAreTaken) {
  ImageWorkload image;
  image.environment = {"FROM_IMAGE=1", "BOTH=image"};
  image.directory = "/usr";
  AgentPeer peer(GuestKind::kInit, image);
  SessionRequest request = request_for({"sh", "-c", "id -u; pwd; echo $FROM_IMAGE $BOTH $HOME"});
  request.user = "daemon";
  request.environment = {"BOTH=request"};
  peer.start(1, request);
  EXPECT_EQ(peer.finish(1).output, "1\n/usr\n1 request /usr/sbin\n");
  peer.start(4,
             request_for({"sh", "-c", "test \"$HOSTNAME\" = \"$(uname -n)\" && env | grep -c ^HOSTNAME="}));
  EXPECT_EQ(peer.finish(4).output, "1\n");
  request.directory = "/does/not/exist";
  peer.start(2, request);
  EXPECT_EQ(peer.finish(2).code, 125U);
  EXPECT_NE(peer.heard[2].failure.find("/does/not/exist"), std::string::npos);
  request.user = "nobody-of-that-name";
  peer.start(3, request);
  EXPECT_NE(peer.finish(3).failure.find("nobody-of-that-name"), std::string::npos);
}

TEST_F(Agent, ATerminalHasItsSizeAndNewOnes) {
  AgentPeer peer;
  SessionRequest request =
      request_for({"sh", "-c", "trap 'stty size; exit 3' WINCH; stty size; while :; do sleep 0.05; done"});
  request.terminal = true;
  request.rows = 33;
  request.columns = 111;
  peer.start(1, request);
  peer.until([&] { return peer.heard[1].output.find("33 111") != std::string::npos; });
  peer.number(1, FrameType::kWindow, 44U | 122U << 16U);
  EXPECT_EQ(peer.finish(1).code, 3U);
  EXPECT_NE(peer.heard[1].output.find("44 122"), std::string::npos);
}

TEST_F(Agent, ATerminalsEndOfInputIsAKey) {
  AgentPeer peer;
  SessionRequest request = request_for({"sh", "-c", "cat >/dev/null; echo over"});
  request.terminal = true;
  peer.start(1, request);
  peer.frame(1, FrameType::kInput, "line\n");
  peer.frame(1, FrameType::kInputEnd);
  EXPECT_NE(peer.finish(1).output.find("over"), std::string::npos);
}

TEST_F(Agent, SignalsReachTheWholeGroup) {
  AgentPeer peer;
  peer.run(1, {"sh", "-c", "sleep 1000 & echo ready; wait"});
  peer.until([&] { return peer.heard[1].output == "ready\n"; });
  peer.number(1, FrameType::kSignal, SIGINT);
  EXPECT_EQ(peer.finish(1).code, 128U + SIGINT);
}

// With this machine's /, which is no guest's with a disk of its own: what was written is synced, and no more.
TEST_F(Agent, WhatIsHeldStillGoesOnAtTheEndOfInputAndWhenNobodyListens) {
  AgentPeer peer;
  SessionRequest request;
  request.freeze = true;
  for (const std::uint32_t session : {1U, 2U}) {
    peer.start(session, request);
    peer.until([&] { return peer.heard[session].output == kSaysSynced; });
    EXPECT_FALSE(peer.heard[session].over);
  }
  peer.frame(1, FrameType::kInput, "ignored");
  peer.frame(1, FrameType::kInputEnd);
  EXPECT_EQ(peer.finish(1).code, 0U);
  peer.number(2, FrameType::kSignal, SIGHUP);
  EXPECT_EQ(peer.finish(2).code, 0U) << "a signal is no end without letting go";
}

// The one that nobody reads stops at its window; the other ones go on.
TEST_F(Agent, ASessionWithoutCreditHoldsUpNoOther) {
  AgentPeer peer;
  peer.grant = false;
  peer.run(1, {"sh", "-c", "yes | head -c 1000000"});
  peer.until([&] { return peer.heard[1].output.size() == kWindowBytes; });
  peer.run(2, {"echo", "through"});
  EXPECT_EQ(peer.finish(2).output, "through\n");
  EXPECT_EQ(peer.heard[1].output.size(), kWindowBytes);
  EXPECT_FALSE(peer.heard[1].over);
  peer.grant = true;
  peer.number(1, FrameType::kCredit, kWindowBytes);
  EXPECT_EQ(peer.finish(1).code, 0U);
  EXPECT_EQ(peer.heard[1].output.size(), 1'000'000U);
}

TEST_F(Agent, LargeInputGoesInAsCreditAllows) {
  AgentPeer peer;
  peer.run(1, {"wc", "-c"});
  constexpr std::size_t kTotal = 1'000'000;
  const std::string piece(kMaxPayloadBytes, 'p');
  std::size_t sent = 0;
  while (sent < kTotal) {
    peer.until([&] { return kWindowBytes + peer.heard[1].credit - sent >= piece.size(); });
    peer.frame(1, FrameType::kInput, std::string_view(piece).substr(0, kTotal - sent));
    sent += std::min(piece.size(), kTotal - sent);
  }
  peer.frame(1, FrameType::kInputEnd);
  EXPECT_EQ(peer.finish(1).output, "1000000\n");
}

TEST_F(Agent, MoreThanWasGrantedEndsTheSessionAlone) {
  AgentPeer peer;
  peer.run(1, {"sleep", "1000"});
  peer.run(2, {"cat"});
  // The pipe takes as much as a window, and that much is granted anew.
  for (std::size_t sent = 0; sent <= 2 * kWindowBytes; sent += kMaxPayloadBytes)
    peer.frame(1, FrameType::kInput, std::string(kMaxPayloadBytes, 'x'));
  EXPECT_EQ(peer.finish(1).code, 125U);
  peer.number(2, FrameType::kCredit, 1);  // nothing of the window is used
  EXPECT_EQ(peer.finish(2).code, 125U);
  peer.run(3, {"echo", "alive"});
  EXPECT_EQ(peer.finish(3).output, "alive\n");
}

TEST_F(Agent, AHangUpEndsTheProgram) {
  AgentPeer peer;
  peer.run(1, {"sh", "-c", "echo $$; exec sleep 1000"});
  peer.until([&] { return peer.heard[1].output.ends_with('\n'); });
  const pid_t pid = std::stoi(peer.heard[1].output);
  peer.frame(1, FrameType::kHangUp);
  // A reaped process is no more; the sessions that follow show that the agent has come round.
  for (std::uint32_t session = 2; kill(pid, 0) == 0; ++session) {
    peer.run(session, {"true"});
    peer.finish(session);
    ASSERT_LT(session, 1000U);
  }
}

TEST_F(Agent, SessionsHaveABound) {
  AgentPeer peer;
  for (std::uint32_t session = 1; session <= kMaxSessions + 1; ++session)
    peer.run(session, {"sleep", "1000"});
  EXPECT_EQ(peer.finish(kMaxSessions + 1).code, 125U);
  EXPECT_NE(peer.heard[kMaxSessions + 1].failure.find("too many"), std::string::npos);
}

TEST_F(Agent, NoFrameBringsItOutOfStepAndAHelloIn) {
  AgentPeer peer;
  peer.write_raw(std::string(1000, '\xff'));
  peer.greet(2);
  peer.run(9, {"echo", "back"});
  EXPECT_EQ(peer.finish(9).output, "back\n");
}

TEST_F(Agent, AHelloEndsTheSessionsOfTheLastOne) {
  AgentPeer peer;
  peer.run(1, {"sh", "-c", "echo $$; exec sleep 1000"});
  peer.until([&] { return peer.heard[1].output.ends_with('\n'); });
  const pid_t pid = std::stoi(peer.heard[1].output);
  peer.greet(2);
  for (std::uint32_t session = 2; kill(pid, 0) == 0; ++session) {
    peer.run(session, {"true"});
    peer.finish(session);
    ASSERT_LT(session, 1000U);
  }
}

TEST_F(Agent, WhatAProgramLeavesBehindDoesNotHoldItsEnd) {
  AgentPeer peer;
  peer.run(1, {"sh", "-c", "sleep 1000 & echo $!"});
  const Heard& heard = peer.finish(1);
  EXPECT_EQ(heard.code, 0U);
  kill(std::stoi(heard.output), SIGKILL);
}

TEST_F(Agent, ConnectsToASocketOfTheGuest) {
  char directory[] = "/tmp/agent_test-XXXXXX";
  ASSERT_NE(mkdtemp(directory), nullptr);
  const std::string path = std::string(directory) + "/socket";
  const Fd listener(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof(address.sun_path) - 1);
  ASSERT_EQ(bind(listener.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
  ASSERT_EQ(listen(listener.get(), 1), 0);
  AgentPeer peer;
  SessionRequest request;
  request.connect = path;
  peer.start(1, request);
  peer.frame(1, FrameType::kInput, "question");
  peer.frame(1, FrameType::kInputEnd);
  Fd connection(accept(listener.get(), nullptr, nullptr));
  std::string question;
  char piece[64];
  for (ssize_t got; (got = read(connection.get(), piece, sizeof(piece))) > 0;)
    question.append(piece, static_cast<std::size_t>(got));
  EXPECT_EQ(question, "question");
  ASSERT_EQ(write(connection.get(), "answer", 6), 6);
  connection.reset();
  EXPECT_EQ(peer.finish(1).output, "answer");
  request.connect = "/no/such/socket";
  peer.start(2, request);
  EXPECT_NE(peer.finish(2).failure.find("/no/such/socket"), std::string::npos);
  unlink(path.c_str());
  rmdir(directory);
}

TEST_F(Agent, TheImagesCommandIsRunOnceAndItsEndIsTheAgents) {
  ImageWorkload image;
  image.entrypoint = {"sh", "-c", "echo \"$0 $1\"; exit 5"};
  image.command = {"from", "image"};
  AgentPeer peer(GuestKind::kCommand, image);
  SessionRequest request;
  request.main = true;
  request.arguments = {"given"};
  peer.start(1, request);
  EXPECT_EQ(peer.finish(1).output, "given \n");
  EXPECT_EQ(peer.heard[1].code, 5U);
  EXPECT_EQ(peer.wait_for_end(), 0);
}

TEST_F(Agent, APowerOffIsTheImagesStopSignal) {
  ImageWorkload image;
  image.command = {"sh", "-c", "trap 'echo stopping; exit 9' QUIT; echo up; while :; do sleep 0.05; done"};
  image.stop_signal = "SIGQUIT";
  AgentPeer peer(GuestKind::kCommand, image);
  SessionRequest request;
  request.main = true;
  peer.start(1, request);
  peer.until([&] { return peer.heard[1].output == "up\n"; });
  peer.frame(0, FrameType::kPowerOff);
  EXPECT_EQ(peer.finish(1).code, 9U);
  EXPECT_EQ(peer.heard[1].output, "up\nstopping\n");
}

TEST_F(Agent, AFatVmHasNoSecondWorkload) {
  AgentPeer peer;
  SessionRequest request;
  request.main = true;
  peer.start(1, request);
  EXPECT_EQ(peer.finish(1).code, 125U);
}

}  // namespace
}  // namespace guest_init
