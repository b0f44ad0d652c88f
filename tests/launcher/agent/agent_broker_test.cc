// The broker between real sessions and the guest's real agent, which runs in a process of the test with this
// machine's / as its image; and against a guest that keeps to nothing.
#include "launcher/agent/agent_broker.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/ioctl.h>
#include <sys/wait.h>

#include <algorithm>
#include <boost/asio/io_context.hpp>
#include <chrono>
#include <csignal>

#include "guest-init/agent_loop.h"
#include "guest-init/records.h"
#include "launcher/agent/session_client.h"
#include "launcher/agent/socket_forward.h"
#include "launcher/host/unix_socket.h"
#include "oci-mount/base/files.h"
#include "tests/launcher/agent/broker_fixture.h"
#include "tests/launcher/scratch_dir.h"

namespace layerboot::launcher {
namespace {

using guest_init::FrameType;
using guest_init::GuestKind;
using guest_init::SessionRequest;

TEST_F(Broker, SessionsOfSeveralClientsAtOnce) {
  need_root();
  start_agent();
  Collector out;
  Collector err;
  std::optional<SessionEnd> first;
  std::optional<SessionEnd> second;
  const auto one = session(shell("echo one; echo oops >&2; exit 3"),
                           {.input = -1, .output = out.write_end.get(), .error = err.write_end.get()}, first);
  const auto two = session(shell("exit 4"), {.input = -1, .output = 1, .error = 2}, second);
  run_until([&] { return first && second; });
  EXPECT_EQ(first->exit_code, 3);
  EXPECT_EQ(second->exit_code, 4);
  EXPECT_EQ(out.take(), "one\n");
  EXPECT_EQ(err.take(), "oops\n");
  EXPECT_EQ(greeted_, GuestKind::kInit);
}

TEST_F(Broker, InputOfAnySizeGoesThroughAndComesBack) {
  need_root();
  start_agent();
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  UniqueFd input(ends[0]);
  UniqueFd feed(ends[1]);
  // Or the test itself would wait in write(2), for ever: nobody reads yet.
  ASSERT_GE(::fcntl(feed.get(), F_SETPIPE_SZ, 1 << 20), 1 << 20);
  const std::string text(700'000, 'z');
  ASSERT_EQ(::write(feed.get(), text.data(), text.size()), static_cast<ssize_t>(text.size()));
  feed.reset();
  Collector out;
  std::optional<SessionEnd> end;
  const auto client =
      session(shell("cat"), {.input = input.get(), .output = out.write_end.get(), .error = 2}, end);
  run_until([&] { return end.has_value(); });
  EXPECT_EQ(end->exit_code, 0);
  EXPECT_EQ(out.take(), text);
}

TEST_F(Broker, OneWhoDoesNotReadHoldsUpNobody) {
  need_root();
  start_agent();
  Collector slow;
  ::fcntl(slow.write_end.get(), F_SETPIPE_SZ, 4096);
  std::optional<SessionEnd> first;
  std::optional<SessionEnd> second;
  const auto one = session(shell("yes"), {.input = -1, .output = slow.write_end.get(), .error = 2}, first);
  Collector out;
  const auto two = session(shell("yes | head -c 500000"),
                           {.input = -1, .output = out.write_end.get(), .error = 2}, second);
  run_until([&] { return second.has_value(); });
  EXPECT_EQ(out.take().size(), 500'000U);
  EXPECT_FALSE(first);
}

TEST_F(Broker, AClientThatGoesTakesItsProgramWithIt) {
  need_root();
  start_agent();
  Collector out;
  std::optional<SessionEnd> end;
  auto client = session(shell("echo $$; exec sleep 1000"),
                        {.input = -1, .output = out.write_end.get(), .error = 2}, end);
  std::string pid;
  run_until([&] { return !(pid += out.take()).empty(); });
  client.reset();
  // Each further session is a round of the agent's loop, which reaps.
  while (::kill(std::stoi(pid), 0) == 0) {
    std::optional<SessionEnd> other;
    const auto round = session(shell("true"), {}, other);
    run_until([&] { return other.has_value(); });
  }
}

TEST_F(Broker, AWrittenToPipeThatBreaksEndsTheSessionAsASignalWould) {
  need_root();
  start_agent();
  Collector out;
  out.read_end.reset();
  std::optional<SessionEnd> end;
  const auto client = session(shell("yes"), {.input = -1, .output = out.write_end.get(), .error = 2}, end);
  run_until([&] { return end.has_value(); });
  EXPECT_EQ(end->exit_code, 128 + SIGPIPE);
}

TEST_F(Broker, AGuestThatRestartsEndsItsSessionsAndTakesNewOnes) {
  need_root();
  start_agent();
  Collector out;
  std::optional<SessionEnd> end;
  const auto client =
      session(shell("echo up; sleep 1000"), {.input = -1, .output = out.write_end.get(), .error = 2}, end);
  run_until([&] { return out.take() == "up\n"; });
  greeted_.reset();
  std::optional<SessionEnd> early;
  broker_->guest_reset();
  run_until([&] { return end.has_value() && greeted_.has_value(); });
  EXPECT_EQ(end->exit_code, 125);
  EXPECT_NE(end->failure.find("restarted"), std::string::npos);
  const auto next = session(shell("exit 6"), {}, early);
  run_until([&] { return early.has_value(); });
  EXPECT_EQ(early->exit_code, 6);
}

TEST_F(Broker, ListensForItsUserAlone) {
  need_root();
  const ScratchDir scratch;
  start_agent();
  const auto path = scratch.path() / "agent.sock";
  ASSERT_TRUE(broker_->listen(path));
  EXPECT_EQ(std::filesystem::status(path).permissions(), std::filesystem::perms(0600));
  auto socket = connect_to(path);
  ASSERT_TRUE(socket);
  std::optional<SessionEnd> end;
  SessionClient client(io_, *std::move(socket), {}, [&end](SessionEnd how) { end = std::move(how); });
  ASSERT_TRUE(client.start(shell("exit 8")));
  run_until([&] { return end.has_value(); });
  EXPECT_EQ(end->exit_code, 8);
  broker_.reset();
  EXPECT_FALSE(std::filesystem::exists(path));
}

TEST(Session, AGuestThatIgnoresCreditCostsBoundedMemory) {
  boost::asio::io_context io{1};
  auto ends = socket_pair();
  ASSERT_TRUE(ends);
  int out[2];
  ASSERT_EQ(::pipe2(out, O_CLOEXEC), 0);
  const UniqueFd nobody_reads(out[0]);
  const UniqueFd output(out[1]);
  std::optional<SessionEnd> end;
  SessionClient client(io, std::move(ends->first),
                       {.input = -1, .output = output.get(), .error = output.get()},
                       [&end](SessionEnd how) { end = std::move(how); });
  ASSERT_TRUE(client.start({}));
  // Past the pipe's 64 KiB nothing is written any more.
  std::string flood;
  guest_init::append_frame(flood, 0, guest_init::FrameType::kOutput,
                           std::string(guest_init::kMaxPayloadBytes, 'x'));
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  std::size_t sent_bytes = 0;
  while (!end && std::chrono::steady_clock::now() < deadline) {
    const ssize_t sent = ::send(ends->second.get(), flood.data(), flood.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent > 0) sent_bytes += static_cast<std::size_t>(sent);
    ASSERT_TRUE(sent < 0 || static_cast<std::size_t>(sent) == flood.size()) << "a frame must be whole";
    io.restart();
    io.run_one_until(std::chrono::steady_clock::now() + std::chrono::milliseconds(10));
  }
  ASSERT_TRUE(end) << sent_bytes << " bytes were taken";
  EXPECT_EQ(end->exit_code, 125);
  EXPECT_NE(end->failure.find("granted"), std::string::npos);
}

TEST(Session, ARequestThatIsTooLargeIsRefusedHere) {
  guest_init::SessionRequest request;
  request.environment = {"A=" + std::string(guest_init::kMaxRecordsBytes, 'a')};
  EXPECT_EQ(check_request_fits(request).error().code, E2BIG);
  request.environment.assign(guest_init::kMaxRecords + 1, "A=1");
  EXPECT_EQ(check_request_fits(request).error().code, E2BIG);
  request.environment.resize(100);
  EXPECT_TRUE(check_request_fits(request));
}

TEST_F(Broker, TheImagesCommandIsASessionToo) {
  need_root();
  guest_init::ImageWorkload image;
  image.command = {"sh", "-c", "exit 7"};
  start_agent(GuestKind::kCommand, image);
  SessionRequest request;
  request.main = true;
  std::optional<SessionEnd> end;
  const auto client = session(request, {}, end);
  run_until([&] { return end && closed_; });
  EXPECT_EQ(end->exit_code, 7);
  EXPECT_EQ(greeted_, GuestKind::kCommand);
}

// ---- a guest that keeps to nothing

class HostileGuest : public Broker {
 protected:
  void SetUp() override {
    auto ends = socket_pair();
    ASSERT_TRUE(ends);
    guest_ = std::move(ends->second);
    start_broker(std::move(ends->first));
  }
  /// Answers the hello, and gives the session number of the first request.
  std::uint32_t greet() {
    std::uint32_t session = 0;
    run_until([&] {
      char piece[4096];
      const ssize_t got = ::recv(guest_.get(), piece, sizeof(piece), MSG_DONTWAIT);
      if (got > 0) decoder_.feed({piece, static_cast<std::size_t>(got)});
      while (const auto frame = decoder_.next()) {
        if (frame->type == FrameType::kHello) {
          decoder_.accept();
          std::string answer;
          guest_init::append_hello(answer, *guest_init::decode_hello(frame->payload));
          say(answer);
        }
        if (frame->type != FrameType::kStart) continue;
        session = frame->session;
        ++started_;
      }
      if (session == 0) io_.poll_one();
      return session != 0;
    });
    return session;
  }
  /// As far as there is anything to do at once.
  void work() {
    io_.restart();
    while (io_.poll() > 0) continue;
  }
  void say(std::string_view bytes) const {
    ASSERT_EQ(::send(guest_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(bytes.size()));
  }

  UniqueFd guest_;
  guest_init::FrameDecoder decoder_;
  std::size_t started_ = 0;  // sessions
};

/// As the host sends and the guest answers; `number` 0: somebody hears.
std::string hearing_frame(std::uint32_t number) {
  std::string bytes;
  guest_init::append_number(bytes, 0, FrameType::kSignal, number);
  return bytes;
}

TEST_F(HostileGuest, SaysWhoHearsTheConsoleWhenItIsAskedAndOnce) {
  EXPECT_FALSE(broker_->ask_who_hears()) << "it has not answered";
  auto client = socket_pair();
  ASSERT_TRUE(client && broker_->adopt(std::move(client->first)));
  std::string start;
  guest_init::append_frame(start, 1, FrameType::kStart, "");
  ASSERT_EQ(::send(client->second.get(), start.data(), start.size(), MSG_NOSIGNAL),
            static_cast<ssize_t>(start.size()));
  greet();
  say(hearing_frame(SIGINT));
  work();
  EXPECT_TRUE(hearing_.empty()) << "nobody asked";
  ASSERT_TRUE(broker_->ask_who_hears());
  say(hearing_frame(SIGINT) + hearing_frame(SIGINT));
  work();
  EXPECT_EQ(hearing_, std::vector<bool>{false});
  ASSERT_TRUE(broker_->ask_who_hears());
  say(hearing_frame(0));
  work();
  EXPECT_EQ(hearing_, (std::vector<bool>{false, true}));
  ASSERT_TRUE(broker_->ask_who_hears());
  broker_->guest_reset();
  say(hearing_frame(SIGINT));
  work();
  EXPECT_EQ(hearing_.size(), 2U) << "an answer of before the reset";
}

TEST_F(HostileGuest, AnswersOnlyToTheHelloThatWasSaid) {
  std::string forged;
  guest_init::append_hello(forged, {});
  say(forged);
  say(std::string(100'000, 'x'));
  std::optional<SessionEnd> end;
  const auto client = session(shell("true"), {}, end);
  EXPECT_NE(greet(), 0U);
}

TEST_F(HostileGuest, MoreThanWasGrantedEndsTheSession) {
  // A client that reads nothing at all.
  auto ends = socket_pair();
  ASSERT_TRUE(ends);
  ASSERT_TRUE(broker_->adopt(std::move(ends->first)));
  std::string request;
  guest_init::append_frame(request, 0, FrameType::kStart, {});
  ASSERT_GT(::send(ends->second.get(), request.data(), request.size(), 0), 0);
  const std::uint32_t id = greet();
  std::string flood;
  guest_init::append_frame(flood, id, FrameType::kOutput, std::string(16384, 'f'));
  bool hung_up = false;
  for (int sent = 0; sent < 200 && !hung_up; ++sent) {
    say(flood);
    while (io_.poll_one() > 0) continue;
    char piece[4096];
    const ssize_t got = ::recv(guest_.get(), piece, sizeof(piece), MSG_DONTWAIT);
    if (got > 0) decoder_.feed({piece, static_cast<std::size_t>(got)});
    while (const auto frame = decoder_.next()) hung_up = hung_up || frame->type == FrameType::kHangUp;
  }
  EXPECT_TRUE(hung_up);
}

TEST_F(HostileGuest, FramesForNobodyAndFramesOfTheWrongWayAreNothing) {
  std::optional<SessionEnd> end;
  const auto client = session(shell("true"), {}, end);
  const std::uint32_t id = greet();
  std::string bytes;
  for (const FrameType type :
       {FrameType::kRequest, FrameType::kStart, FrameType::kInput, FrameType::kPowerOff})
    guest_init::append_frame(bytes, id, type, "?");
  guest_init::append_frame(bytes, 4711, FrameType::kOutput, "?");
  guest_init::append_frame(bytes, id, FrameType::kCredit, "?");
  guest_init::append_number(bytes, id, FrameType::kExit, 0x12345);
  say(bytes);
  run_until([&] { return end.has_value(); });
  EXPECT_EQ(end->exit_code, 0x45);
}

TEST_F(HostileGuest, NoFrameStartsOverWithIt) {
  std::optional<SessionEnd> end;
  const auto client = session(shell("true"), {}, end);
  greet();
  say(std::string(64, '\xff'));
  run_until([&] { return end.has_value(); });
  EXPECT_EQ(end->exit_code, 125);
}

TEST_F(HostileGuest, ThatBreaksItsWordAgainAndAgainIsToldOfOnce) {
  testing::internal::CaptureStderr();
  for (int i = 0; i < 20; ++i) {
    greeted_.reset();
    work();
    char piece[4096];
    const ssize_t got = ::recv(guest_.get(), piece, sizeof(piece), MSG_DONTWAIT);
    ASSERT_GT(got, 0);
    decoder_.feed({piece, static_cast<std::size_t>(got)});
    const auto frame = decoder_.next();
    ASSERT_TRUE(frame && frame->type == FrameType::kHello);
    decoder_.accept();
    auto hello = *guest_init::decode_hello(frame->payload);
    // One of another version is answered to as little as one that is never said.
    ++hello.version;
    std::string answer;
    guest_init::append_hello(answer, hello);
    guest_init::append_hello(answer, hello);
    --hello.version;
    guest_init::append_hello(answer, hello);
    say(answer);
    work();
    ASSERT_TRUE(greeted_);
    say(std::string(64, '\xff'));
  }
  work();
  const std::string said = testing::internal::GetCapturedStderr();
  EXPECT_EQ(std::ranges::count(said, '\n'), 2) << said;
  EXPECT_NE(said.find("does not keep to its protocol"), std::string::npos) << said;
}

TEST_F(HostileGuest, SaysNothingThatLooksLikeALineOfOurs) {
  std::optional<SessionEnd> end;
  const auto client = session(shell("true"), {}, end);
  const std::uint32_t id = greet();
  std::string bytes;
  guest_init::append_frame(bytes, id, FrameType::kFailed,
                           std::string(4, '\0') + "x\nlayerboot: error: y\x1b[2J");
  say(bytes);
  run_until([&] { return end.has_value(); });
  EXPECT_EQ(end->failure, "the VM says: x\\012layerboot: error: y\\033[2J");
}

TEST_F(HostileGuest, AConnectionsPeerWritesOnNoTerminal) {
  const ScratchDir scratch;
  const auto forward = SocketForward::listen(io_, *broker_, scratch.path() / "socket", "/in/guest");
  ASSERT_TRUE(forward);
  const auto peer = connect_to(scratch.path() / "socket");
  ASSERT_TRUE(peer);
  const std::uint32_t id = greet();
  testing::internal::CaptureStderr();
  std::string bytes;
  guest_init::append_frame(bytes, id, FrameType::kError, "to the terminal\x1b[2J");
  guest_init::append_frame(bytes, id, FrameType::kOutput, "to the peer");
  guest_init::append_frame(bytes, id, FrameType::kFailed, std::string(4, '\0') + "x\nlayerboot: error: y");
  say(bytes);
  std::string got(64, '\0');
  ssize_t size_bytes = -1;
  run_until([&] {
    io_.poll_one();
    size_bytes = ::recv(peer->get(), got.data(), got.size(), MSG_DONTWAIT | MSG_PEEK);
    return size_bytes > 0;
  });
  while (io_.poll_one() > 0) continue;
  const std::string said = testing::internal::GetCapturedStderr();
  EXPECT_EQ(got.substr(0, static_cast<std::size_t>(size_bytes)), "to the peer");
  EXPECT_EQ(said.find("to the terminal"), std::string::npos) << said;
  EXPECT_NE(said.find(": the VM says: x\\012layerboot: error: y\n"), std::string::npos) << said;
}

TEST_F(HostileGuest, ConnectionsOfOthersLeaveSessionsForItsUser) {
  constexpr std::size_t kMany = 40;
  const ScratchDir scratch;
  std::vector<std::unique_ptr<SocketForward>> forwards;
  std::vector<UniqueFd> peers;
  testing::internal::CaptureStderr();
  for (const char* name : {"one", "two"}) {
    auto forward = SocketForward::listen(io_, *broker_, scratch.path() / name, "/in/guest");
    ASSERT_TRUE(forward);
    forwards.push_back(*std::move(forward));
    for (std::size_t i = 0; i < kMany; ++i) {
      auto peer = connect_to(scratch.path() / name);
      ASSERT_TRUE(peer);
      peers.push_back(*std::move(peer));
    }
  }
  greet();
  const auto hear = [&] {
    work();
    char piece[65536];
    for (ssize_t got = 0; (got = ::recv(guest_.get(), piece, sizeof(piece), MSG_DONTWAIT)) > 0; work()) {
      decoder_.feed({piece, static_cast<std::size_t>(got)});
      while (const auto frame = decoder_.next()) started_ += frame->type == FrameType::kStart ? 1U : 0U;
    }
  };
  hear();
  EXPECT_EQ(started_, SessionShares::kMaxForAll);
  // Those who wait are neither taken nor closed.
  EXPECT_EQ(std::ranges::count_if(peers,
                                  [](const UniqueFd& peer) {
                                    char byte = 0;
                                    return ::recv(peer.get(), &byte, 1, MSG_DONTWAIT) == 0;
                                  }),
            0);
  for (std::size_t i = 0; i < SessionShares::kKeptForOthers; ++i) {
    auto ends = socket_pair();
    ASSERT_TRUE(ends);
    EXPECT_TRUE(broker_->adopt(std::move(ends->first))) << i;
    peers.push_back(std::move(ends->second));
  }
  // As places become free, others are let in.
  std::string ends;
  for (std::uint32_t id = 1; id <= 5; ++id) guest_init::append_number(ends, id, FrameType::kExit, 0);
  say(ends);
  hear();
  EXPECT_EQ(started_, SessionShares::kMaxForAll + 5);
  const std::string said = testing::internal::GetCapturedStderr();
  EXPECT_EQ(std::ranges::count(said, '\n'), 2) << said;
  EXPECT_NE(said.find("one: further connections wait until others end"), std::string::npos) << said;
}

TEST_F(HostileGuest, ThatReadsNothingIsSentNoSessionsThatItCallsForth) {
  std::optional<SessionEnd> end;
  const auto client = session(shell("true"), {}, end);
  greet();
  // What a client of ours has sent, and nobody takes.
  auto ends = socket_pair();
  ASSERT_TRUE(ends);
  ASSERT_TRUE(broker_->adopt(std::move(ends->first)));
  std::string input;
  guest_init::append_frame(input, 0, FrameType::kInput, std::string(guest_init::kMaxPayloadBytes, 'i'));
  const auto fill = [&](int peer) {
    for (int i = 0; i < 200; ++i) {
      [[maybe_unused]] const ssize_t sent = ::send(peer, input.data(), input.size(), MSG_DONTWAIT);
      io_.restart();
      while (io_.poll_one() > 0) continue;
    }
  };
  fill(ends->second.get());
  // Behind as it is, it gets nothing of another's.
  auto other = socket_pair();
  ASSERT_TRUE(other);
  ASSERT_TRUE(broker_->adopt(std::move(other->first)));
  std::string request;
  guest_init::append_frame(request, 0, FrameType::kStart, {});
  ASSERT_EQ(::send(other->second.get(), request.data(), request.size(), 0),
            static_cast<ssize_t>(request.size()));
  io_.restart();
  while (io_.poll_one() > 0) continue;
  int unread_bytes = 0;
  ASSERT_EQ(::ioctl(other->second.get(), TIOCOUTQ, &unread_bytes), 0);
  EXPECT_GT(unread_bytes, 0);
}

}  // namespace
}  // namespace layerboot::launcher
