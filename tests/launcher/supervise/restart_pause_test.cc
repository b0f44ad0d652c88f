#include "launcher/supervise/restart_pause.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <thread>

#include "launcher/host/signals.h"
#include "launcher/vm/control_client.h"
#include "tests/launcher/scratch_dir.h"

namespace layerboot::launcher {
namespace {

using std::chrono::milliseconds;

constexpr int kGoesOn = 10;
constexpr int kIsOver = 11;

/// The pause in a process of its own, as it is in a launcher.
class RestartPause : public testing::Test {
 protected:
  void begin(milliseconds pause) {
    process_ = fork();
    if (process_ != 0) return;
    ignore_idle_signals();
    const auto go_on = pause_before_restart(path_, pause);
    _exit(go_on ? (*go_on ? kGoesOn : kIsOver) : 1);
  }
  ControlClient connect() {
    for (;;) {
      auto client = ControlClient::connect(path_);
      if (client) return *std::move(client);
      std::this_thread::sleep_for(milliseconds(20));
    }
  }
  int status() const {
    int status = 0;
    waitpid(process_, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }

  ScratchDir scratch_;
  std::filesystem::path path_ = scratch_.path() / "control.sock";
  pid_t process_ = -1;
};

constexpr milliseconds kLong{3'600'000};

TEST_F(RestartPause, GoesOnWhenItIsOver) {
  begin(milliseconds(1));
  EXPECT_EQ(status(), kGoesOn);
  EXPECT_FALSE(std::filesystem::exists(path_));
}

TEST_F(RestartPause, IsThereForStop) {
  begin(kLong);
  auto client = connect();
  // Nobody's here, and no reason to end.
  for (const int signal : kIdleSignals) kill(process_, signal);
  const auto answer = client.ask({});
  ASSERT_TRUE(answer) << answer.error().describe();
  EXPECT_EQ(answer->at("state"), "restarting");
  EXPECT_FALSE(client.ask({.verb = ControlVerb::kConsole, .timeout_seconds = {}}));
  EXPECT_TRUE(client.ask({.verb = ControlVerb::kStop, .timeout_seconds = {}}));
  EXPECT_EQ(status(), kIsOver);
  EXPECT_FALSE(std::filesystem::exists(path_));
}

TEST_F(RestartPause, EndsWithASignal) {
  begin(kLong);
  auto client = connect();
  ASSERT_TRUE(client.ask({}));
  kill(process_, SIGTERM);
  EXPECT_EQ(status(), kIsOver);
}

}  // namespace
}  // namespace layerboot::launcher
