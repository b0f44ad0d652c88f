// SupervisorTest: a supervisor of daemons and a QEMU that are scripts.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <string>
#include <utility>

#include "launcher/host/unix_socket.h"
#include "launcher/supervise/supervisor.h"
#include "oci-mount/base/unique_fd.h"
#include "tests/launcher/scratch_dir.h"

namespace layerboot::launcher {

using std::chrono::milliseconds;

// What every fake daemon and QEMU can say. They note what happens to them in the file "log".
inline constexpr const char* kDaemonStart = R"(
note() { echo "$1" >> log; }
ready() { echo ready >&3; exec 3>&-; }
echo $$ > daemon.pid
)";
// It waits without a child of its own: a child that is signalled between fork and exec would outlive it.
inline constexpr const char* kDaemonServes = R"(
trap 'note flushed; exit 0' TERM
mkfifo never
exec 4<>never
ready
while :; do read -r nothing <&4; done
)";
inline constexpr const char* kQemuStart = R"(
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

class SupervisorTest : public testing::Test {
 protected:
  void SetUp() override {
    plan_.socket = scratch_.path() / "s.sock";
    plan_.console_input = input_.get();
    plan_.console_output = output_.get();
    auto listener = listen_at(plan_.socket);
    ASSERT_TRUE(listener) << listener.error().describe();
    listener_ = *std::move(listener);
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

}  // namespace layerboot::launcher
