// What a daemon and a QEMU can do with their standard output and error, from within.
#include <algorithm>
#include <boost/asio/io_context.hpp>
#include <cstring>
#include <memory>
#include <string>
#include <thread>

#include "launcher/host/exit_watch.h"
#include "launcher/supervise/daemon_process.h"
#include "tests/launcher/supervise/supervisor_fixture.h"

namespace layerboot::launcher {
namespace {

class ChildWordsTest : public SupervisorTest {
 protected:
  /// What is on our standard error at the end.
  std::string said_by_run() {
    testing::internal::CaptureStderr();
    outcome_ = supervise(plan_);
    return testing::internal::GetCapturedStderr();
  }
  static bool has_line(const std::string& said, const std::string& line) {
    return ("\n" + said).find("\n" + line + "\n") != std::string::npos;
  }

  Result<int> outcome_ = 0;
};

// As code would that has taken the child over. What is no pipe of the child's own is the log or a terminal.
constexpr const char* kTryOutputs = R"(
for number in 0 1 2; do
  case $number$(readlink /proc/$$/fd/$number) in 0/dev/null | [12]pipe:*) ;; *) note "$number is open"; esac
done
if read -r typed <&1; then note "read 1"; fi 2>/dev/null
if read -r typed <&2; then note "read 2"; fi 2>/dev/null
: > /proc/self/fd/2
)";

TEST_F(ChildWordsTest, NeitherDaemonNorQemuHasOurTerminalOrLog) {
  daemon(str_cat(kTryOutputs, kDaemonServes));
  qemu(str_cat(kTryOutputs, "power_off"));
  const std::string said = said_by_run();
  EXPECT_TRUE(outcome_) << outcome_.error().describe() << said;
  EXPECT_EQ(log(), "started\nqmp_capabilities\noff\nflushed\n");
}

TEST_F(ChildWordsTest, WhatTheySayIsLinesThatAreTheirs) {
  daemon(str_cat("printf 'vfsd: warning: full\\n\\033]0;x\\007\\rlayerboot: error: forged\\nbegun' >&2\n",
                 "echo 'layerboot: error: on output'\n", kDaemonServes));
  qemu("printf 'layerboot: all is well\\r\\nQEMU: \\302\\233 end' >&2; power_off");
  const std::string said = said_by_run();
  EXPECT_TRUE(outcome_) << outcome_.error().describe();
  EXPECT_TRUE(has_line(said, "vfsd: warning: full")) << said;
  EXPECT_TRUE(has_line(said, "vfsd: \\033]0;x\\007\\015layerboot: error: forged")) << said;
  EXPECT_TRUE(has_line(said, "vfsd: begunlayerboot: error: on output")) << said;
  EXPECT_TRUE(has_line(said, "QEMU: layerboot: all is well")) << said;
  EXPECT_TRUE(has_line(said, "QEMU: \\302\\233 end")) << said;
}

TEST_F(ChildWordsTest, ItsLastWordsAreToldThoughItHasEnded) {
  daemon("printf 'vfsd: error: no such image' >&2; exit 1");
  qemu("power_off");
  const std::string said = said_by_run();
  EXPECT_FALSE(outcome_);
  EXPECT_TRUE(has_line(said, "vfsd: error: no such image")) << said;
}

TEST_F(ChildWordsTest, AFloodIsCountedAndALongLineCut) {
  daemon(str_cat("i=0; while [ $i -lt 20000 ]; do echo \"$i\" >&2; i=$((i + 1)); done\n", kDaemonServes));
  qemu("head -c 200000 /dev/zero | tr '\\0' x >&2; echo end >&2; echo next >&2; power_off");
  const std::string said = said_by_run();
  EXPECT_TRUE(outcome_) << outcome_.error().describe();
  EXPECT_LT(std::ranges::count(said, '\n'), 300) << said;
  EXPECT_LT(said.size(), 20'000U);
  EXPECT_TRUE(has_line(said, "vfsd: 0"));
  EXPECT_TRUE(has_line(said, "QEMU: next")) << said;
  EXPECT_NE(said.find("xxx…\n"), std::string::npos);
}

// More than one read takes is there, and the speaker's end is seen at the same moment: who is told of that
// lets the words go while the rest goes on.
TEST_F(ChildWordsTest, AllIsToldInOrderThoughTheWordsAreLetGo) {
  boost::asio::io_context io(1);
  const ChildSpec spec =
      fake("child", "i=0; while [ $i -lt 100 ]; do printf 'line %d %0590d\\n' $i 0; i=$((i + 1)); done");
  auto words = ChildWords::open(io, spec);
  ASSERT_TRUE(words) << words.error().describe();
  auto child = Child::spawn((*words)->with_output(spec), {});
  ASSERT_TRUE(child) << child.error().describe();
  (*words)->started();
  const ExitWatch watch(io, child->pidfd(), [&] {
    child->wait();
    (*words)->finish();
    words->reset();
  });
  std::this_thread::sleep_for(milliseconds(500));
  testing::internal::CaptureStderr();
  io.run_for(milliseconds(200));
  const std::string said = testing::internal::GetCapturedStderr();
  std::size_t at = 0;
  for (int i = 0; i < 100; ++i) {
    at = said.find(str_cat("child: line ", i, " 000"), at);
    ASSERT_NE(at, std::string::npos) << i << said;
  }
}

TEST_F(ChildWordsTest, WhyItEndedIsToldThoughItHasSaidTooMuch) {
  daemon(
      "i=0; while [ $i -lt 300 ]; do echo \"$i\" >&2; i=$((i + 1)); done; echo 'vfsd: error: no such image' "
      ">&2; exit 1");
  qemu("power_off");
  const std::string said = said_by_run();
  EXPECT_FALSE(outcome_);
  EXPECT_TRUE(has_line(said, "vfsd: 199")) << said;
  EXPECT_FALSE(has_line(said, "vfsd: 200")) << said;
  EXPECT_TRUE(has_line(said, "vfsd: 298 (and 98 times more before this)")) << said;
  EXPECT_TRUE(has_line(said, "vfsd: 299\nvfsd: error: no such image")) << said;
  EXPECT_LT(std::ranges::count(said, '\n'), 210) << said;
}

TEST_F(ChildWordsTest, ADaemonThatIsGoneHearsNoMoreOfItsPipe) {
  boost::asio::io_context io(1);
  std::unique_ptr<DaemonProcess> one;
  int ends = 0;
  int failures = 0;
  auto started = DaemonProcess::start(io, fake("vfsd", "printf begun >&3; exit 0"), false, milliseconds(1),
                                      {.ready = [] {},
                                       .failed = [&](const Error&) { ++failures; },
                                       .ended =
                                           [&] {
                                             ++ends;
                                             one->wait();
                                             // What was freed is as no object was.
                                             DaemonProcess* const gone = one.release();
                                             gone->~DaemonProcess();
                                             std::memset(static_cast<void*>(gone), 0xff, sizeof(*gone));
                                             ::operator delete(static_cast<void*>(gone));
                                           }});
  ASSERT_TRUE(started) << started.error().describe();
  one = std::move(*started);
  std::this_thread::sleep_for(milliseconds(300));
  io.run_for(milliseconds(200));
  EXPECT_EQ(ends, 1);
  EXPECT_EQ(failures, 0);
}

}  // namespace
}  // namespace layerboot::launcher
