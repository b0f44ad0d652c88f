// The broker of a test, and the guest's real agent in a process of the test, with this machine's / as its
// image.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <boost/asio/io_context.hpp>
#include <chrono>
#include <csignal>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "guest-init/agent_loop.h"
#include "launcher/agent/agent_broker.h"
#include "launcher/agent/session_client.h"
#include "launcher/host/unix_socket.h"

namespace layerboot::launcher {

inline constexpr std::chrono::seconds kPatience{60};  // against a hang, not an expectation of speed

/// A pipe that collects what a session says; it holds 1 MiB, so that nobody has to read meanwhile.
struct Collector {
  Collector() {
    int ends[2];
    EXPECT_EQ(::pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
    read_end = UniqueFd(ends[0]);
    write_end = UniqueFd(ends[1]);
    // Or what is said would wait for a reader that there is not.
    EXPECT_GE(::fcntl(write_end.get(), F_SETPIPE_SZ, 1 << 20), 1 << 20);
  }
  std::string take() const {
    std::string text(1 << 20, '\0');
    const ssize_t got = ::read(read_end.get(), text.data(), text.size());
    text.resize(got < 0 ? 0 : static_cast<std::size_t>(got));
    return text;
  }
  UniqueFd read_end;
  UniqueFd write_end;
};

class Broker : public testing::Test {
 protected:
  // As supervise() has it: clients and guests may be gone when they are written to.
  static void SetUpTestSuite() { std::signal(SIGPIPE, SIG_IGN); }
  /// The guest's agent in a child process, where `before` has been called.
  void start_agent(guest_init::GuestKind kind = guest_init::GuestKind::kInit,
                   guest_init::ImageWorkload workload = {}, const std::function<void()>& before = {}) {
    auto ends = socket_pair();
    ASSERT_TRUE(ends);
    agent_ = ::fork();
    if (agent_ == 0) {
      ends->first.reset();
      ::fcntl(ends->second.get(), F_SETFL, O_NONBLOCK);
      if (before) before();
      guest_init::AgentPlan plan;
      plan.kind = kind;
      plan.workload = std::move(workload);
      plan.power_button = false;
      plan.init_is_systemd = true;
      plan.port = ends->second.release();
      guest_init::AgentLoop(plan, ::open("/", O_PATH | O_DIRECTORY | O_CLOEXEC)).run();
    }
    start_broker(std::move(ends->first));
  }
  void start_broker(UniqueFd port) {
    broker_ = std::make_unique<AgentBroker>(
        io_, std::move(port),
        AgentBroker::Handlers{.greeted = [this](guest_init::GuestKind kind) { greeted_ = kind; },
                              .hearing = [this](bool heard) { hearing_.push_back(heard); },
                              .closed = [this] { closed_ = true; }});
    ASSERT_TRUE(broker_->start());
  }
  void TearDown() override {
    broker_.reset();
    if (agent_ <= 0) return;
    ::kill(agent_, SIGKILL);
    ::waitpid(agent_, nullptr, 0);
  }
  template <typename Done>
  void run_until(Done done) {
    const auto deadline = std::chrono::steady_clock::now() + kPatience;
    while (!done()) {
      ASSERT_LT(std::chrono::steady_clock::now(), deadline);
      io_.restart();
      io_.run_one_until(deadline);
    }
  }
  /// A client of the broker, joined to `stdio`; its end goes to `end`.
  std::unique_ptr<SessionClient> session(const guest_init::SessionRequest& request, SessionStdio stdio,
                                         std::optional<SessionEnd>& end) {
    auto ends = socket_pair();
    EXPECT_TRUE(broker_->adopt(std::move(ends->first)));
    auto client = std::make_unique<SessionClient>(io_, std::move(ends->second), stdio,
                                                  [&end](SessionEnd how) { end = std::move(how); });
    EXPECT_TRUE(client->start(request));
    return client;
  }
  static guest_init::SessionRequest shell(const char* script) {
    guest_init::SessionRequest request;
    request.arguments = {"sh", "-c", script};
    return request;
  }
  static void need_root() {
    if (::geteuid() != 0) GTEST_SKIP() << "the agent is root in its guest: chroot needs root here too";
  }

  boost::asio::io_context io_{1};
  std::unique_ptr<AgentBroker> broker_;
  pid_t agent_ = -1;
  std::optional<guest_init::GuestKind> greeted_;
  std::vector<bool> hearing_;
  bool closed_ = false;
};

}  // namespace layerboot::launcher
