// The host's side of an agent that runs in a process of the test, with this machine's / as the image.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <map>
#include <string>

#include "guest-init/agent_loop.h"

namespace guest_init {

/// What has come of one session.
struct Heard {
  std::string output;
  std::string error;
  std::uint32_t credit = 0;  // granted for input
  bool over = false;
  std::uint32_t code = 0;
  std::string failure;
};

class AgentPeer {
 public:
  static constexpr int kPatienceMs = 60'000;  // against a hang, not an expectation of speed

  explicit AgentPeer(GuestKind kind = GuestKind::kInit, ImageWorkload workload = {},
                     const std::string& image_root = "/") {
    int ends[2];
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    ours_ = ends[0];
    agent_ = fork();
    if (agent_ == 0) {
      close(ours_);
      fcntl(ends[1], F_SETFL, O_NONBLOCK);
      AgentPlan plan;
      plan.kind = kind;
      plan.workload = std::move(workload);
      plan.power_button = false;  // not this machine's
      plan.init_is_systemd = true;
      plan.port = ends[1];
      const int root = open(image_root.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC);
      AgentLoop(plan, root).run();
    }
    close(ends[1]);
    greet(1);
  }
  ~AgentPeer() {
    close(ours_);
    kill(agent_, SIGKILL);
    waitpid(agent_, nullptr, 0);
  }
  AgentPeer(const AgentPeer&) = delete;
  AgentPeer& operator=(const AgentPeer&) = delete;

  void greet(std::uint8_t nonce) {
    std::string bytes;
    Hello hello;
    hello.nonce[0] = nonce;
    append_hello(bytes, hello);
    write_raw(bytes);
    until([&] { return greeted_ == nonce; });
  }
  void write_raw(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t written = send(ours_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      // An agent that runs the image's command ends with it, and may not wait for the credit for its last
      // words.
      if (written < 0 && errno == EPIPE) return;
      ASSERT_GT(written, 0);
      bytes.remove_prefix(static_cast<std::size_t>(written));
    }
  }
  void frame(std::uint32_t session, FrameType type, std::string_view payload = "") {
    std::string bytes;
    append_frame(bytes, session, type, payload);
    write_raw(bytes);
  }
  void number(std::uint32_t session, FrameType type, std::uint32_t value) {
    std::string bytes;
    append_number(bytes, session, type, value);
    write_raw(bytes);
  }
  void start(std::uint32_t session, const SessionRequest& request) {
    frame(session, FrameType::kRequest, encode_request(request));
    frame(session, FrameType::kStart);
  }
  void run(std::uint32_t session, std::vector<std::string> arguments) {
    SessionRequest request;
    request.arguments = std::move(arguments);
    start(session, request);
  }
  /// Reads until `done`. Credit is given back for what comes, unless `grant` is off.
  template <typename Done>
  void until(Done done) {
    while (!done()) {
      pollfd waiting{ours_, POLLIN, 0};
      ASSERT_EQ(poll(&waiting, 1, kPatienceMs), 1) << "the agent says nothing";
      char piece[8192];
      const ssize_t got = recv(ours_, piece, sizeof(piece), 0);
      if (got <= 0) {
        closed = true;
        ASSERT_TRUE(done()) << "the agent is gone";
        return;
      }
      decoder_.feed({piece, static_cast<std::size_t>(got)});
      while (const auto next = decoder_.next()) take(*next);
    }
  }
  Heard& finish(std::uint32_t session) {
    until([&] { return heard[session].over; });
    return heard[session];
  }
  [[nodiscard]] pid_t agent() const { return agent_; }
  /// The agent's own exit, which it makes by itself.
  int wait_for_end() {
    int status = 0;
    waitpid(agent_, &status, 0);
    return status;
  }

  std::map<std::uint32_t, Heard> heard;
  bool grant = true;
  bool closed = false;

 private:
  void take(const Frame& next) {
    if (next.type == FrameType::kHello) {
      decoder_.accept();
      greeted_ = decode_hello(next.payload)->nonce[0];
      return;
    }
    Heard& of = heard[next.session];
    const auto value = decode_number(next.payload);
    if (next.type == FrameType::kOutput) of.output += next.payload;
    if (next.type == FrameType::kError) of.error += next.payload;
    if (next.type == FrameType::kCredit) of.credit += value.value_or(0);
    if (next.type == FrameType::kExit || next.type == FrameType::kFailed) {
      of.over = true;
      of.code = value.value_or(0);
      if (next.type == FrameType::kFailed) of.failure = next.payload.substr(4);
    }
    const bool data = next.type == FrameType::kOutput || next.type == FrameType::kError;
    if (data && grant)
      number(next.session, FrameType::kCredit, static_cast<std::uint32_t>(next.payload.size()));
  }

  int ours_ = -1;
  pid_t agent_ = -1;
  FrameDecoder decoder_;
  std::uint8_t greeted_ = 0;
};

}  // namespace guest_init
