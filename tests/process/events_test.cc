// layerboot events: what `run` and the commands about VMs note, and what is shown of it. QEMU is a script
// that speaks as one.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <thread>

#include "oci-mount/base/files.h"
#include "tests/process/fake_run_fixture.h"

namespace layerboot::test {
namespace {

// With QMP at 5, as qemu_args.h has it.
constexpr const char* kQemuAsked = R"(#!/bin/sh
[ "$1" != --version ] || { echo "QEMU emulator version 7.2.0"; exit 0; }
)";
constexpr const char* kQemuSpeaks = R"(
say() { printf '%s\r\n' "$1" >&5; }
hear() { read -r line <&5 || exit 1; }
say '{"QMP": {}}'
hear
say '{"return": {}, "id": 1}'
power_off() { say '{"event": "SHUTDOWN", "data": {"guest": true}}'; exit 0; }
)";

class EventsTest : public FakeRunTest {
 protected:
  /// `before`: what it does before it says a word.
  void qemu(const std::string& body, const std::string& before = {}) const {
    be_qemu(str_cat(kQemuAsked, before, kQemuSpeaks, body, "\n"));
  }
  Outcome run(std::vector<std::string> more) const {
    more.insert(more.begin(), {"--boot", "init"});
    return FakeRunTest::run(more);
  }
  /// "EVENT NAME STATUS BYTES NEWNAME" in brackets, of what there is.
  std::string events(std::vector<std::string> more = {}) const {
    std::vector<std::string> words = {"events", "--until", "0s", "--format",
                                      "{{.Event}} {{.Name}} {{.Status}}{{.Bytes}}{{.NewName}}"};
    words.insert(words.end(), more.begin(), more.end());
    return layerboot(words).out;
  }
};

TEST_F(EventsTest, AVmsWholeLifeIsShown) {
  EXPECT_EQ(events(), "") << "nothing is there yet, not even a directory";
  qemu("say '{\"event\": \"RESET\", \"data\": {\"guest\": true}}'; power_off");
  const Outcome first = run({"--name", "web", "--label", "tier=front"});
  ASSERT_EQ(first.exit_code, 0) << first.err;
  qemu("exit 7");
  EXPECT_EQ(layerboot({"start", "--attach", "web", "--qemu", (dir_ / "qemu").string(), "--vfsd",
                       LAYERBOOT_VFSD, "--guest-init", LAYERBOOT_GUEST_INIT})
                .exit_code,
            1);
  EXPECT_EQ(layerboot({"resize", "web", "2G"}).exit_code, 0);
  EXPECT_EQ(layerboot({"reset", "web"}).exit_code, 0);
  EXPECT_EQ(layerboot({"rename", "web", "site"}).exit_code, 0);
  EXPECT_EQ(layerboot({"rm", "site"}).exit_code, 0);
  EXPECT_EQ(layerboot({"rm", "site"}).exit_code, 1) << "is no event";
  EXPECT_EQ(
      events(),
      "create web \nstart web \nreboot web \nstop web 0\nstart web \nstop web 1\nresize web 2147483648\n"
      "reset web \nrename web site\nremove site \n");
  EXPECT_EQ(events({"--filter", "event=remove", "--filter", "event=die"}),
            "stop web 0\nstop web 1\nremove site \n");
  EXPECT_EQ(events({"-f", "label=tier=front", "-f", "image=image:latest", "-f", "vm=site"}),
            "rename web site\nremove site \n");
  const std::string json = layerboot({"events", "--until", "0s", "--json", "--filter", "event=stop"}).out;
  EXPECT_NE(json.find("\"exit_status\":1,\"error\":\"QEMU failed with exit status 7\"}\n"), std::string::npos)
      << json;
}

TEST_F(EventsTest, AThrowAwayVmIsRemovedAtItsEnd) {
  qemu("power_off");
  ASSERT_EQ(run({"--rm", "--name", "brief"}).exit_code, 0);
  EXPECT_EQ(events(), "create brief \nstart brief \nstop brief 0\nremove brief \n");
}

TEST_F(EventsTest, ARestartStopsNothingThatItCannotStartAgain) {
  qemu("hear; exit 0");
  ASSERT_EQ(run({"-d", "--rm", "--name", "brief"}).exit_code, 0);
  const Outcome refused = layerboot({"restart", "brief"});
  EXPECT_EQ(refused.exit_code, 1);
  EXPECT_NE(refused.err.find("--rm"), std::string::npos) << refused.err;
  const Outcome unit = layerboot({"export", "systemd", "brief"});
  EXPECT_EQ(unit.exit_code, 1);
  EXPECT_NE(unit.err.find("--rm"), std::string::npos) << unit.err;
  EXPECT_EQ(layerboot({"ps", "--names"}).out, "brief\n") << "it goes on";

  ASSERT_EQ(run({"-d", "--name", "kept"}).exit_code, 0);
  fs::rename(dir_ / "image", dir_ / "elsewhere");
  EXPECT_EQ(layerboot({"restart", "kept"}).exit_code, 1);
  EXPECT_EQ(events(), "create brief \nstart brief \ncreate kept \nstart kept \n");
  EXPECT_EQ(layerboot({"kill", "brief", "kept"}).exit_code, 0);
}

TEST_F(EventsTest, ASwapDiskIsThereAsLongAsQemuHasIt) {
  const std::string swap = (dir_ / "data/layerboot/vms/web/swap.raw").string();
  qemu("while [ -e " + swap + " ]; do :; done; power_off",
       "stat -c %s " + swap + " > " + (dir_ / "size").string());
  const Outcome outcome = run({"--name", "web", "--swap", "64M"});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_EQ(read_file(dir_ / "size", 100).value_or(""), "67108864\n");
  EXPECT_EQ(layerboot({"ps", "-a", "--format", "{{.Swap}}"}).out, "64.0 MiB\n");
  qemu("", "exit 3");
  EXPECT_EQ(run({"--name", "web", "--swap", "64M"}).exit_code, 1);
  EXPECT_FALSE(fs::exists(swap)) << "of a QEMU that never ran";
  const Outcome refused = run({"--name", "new", "--swap", "200G"});
  if (refused.exit_code == 0) GTEST_SKIP() << "there is room for 200 GiB here";
  EXPECT_NE(refused.err.find("--swap: 200"), std::string::npos) << refused.err;
  EXPECT_FALSE(fs::exists(dir_ / "data/layerboot/vms/new"));
}

TEST_F(EventsTest, ARunThatComesToNothingIsNone) {
  be_broken_qemu();
  EXPECT_EQ(run({"--name", "new"}).exit_code, 1);
  EXPECT_EQ(events(), "");
}

TEST_F(EventsTest, AKilledLaunchersVmHasAnEnd) {
  qemu("hear; exit 0");
  const Outcome started = run({"-d", "--name", "web"});
  ASSERT_EQ(started.exit_code, 0) << started.err;
  EXPECT_EQ(events(), "create web \nstart web \n");
  const std::string pid = layerboot({"ps", "--format", "{{.PID}}"}).out;
  ASSERT_FALSE(pid.empty());
  ASSERT_EQ(::kill(std::stoi(pid), SIGKILL), 0);
  std::string all;
  for (int i = 0; i < 600 && all.find("stop") == std::string::npos; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    all = events();
  }
  EXPECT_EQ(all, "create web \nstart web \nstop web 1\n");
}

/// A shell's lock above all, which is to be free when the shell has ended.
TEST_F(EventsTest, ARunInTheBackgroundHoldsNothingOfItsCallers) {
  qemu("hear; exit 0");
  StrayDescriptor stray;
  const Outcome started = run({"-d", "--name", "web"});
  ASSERT_EQ(started.exit_code, 0) << started.err;
  EXPECT_TRUE(stray.is_let_go());
  const std::string pid = layerboot({"ps", "--format", "{{.PID}}"}).out;
  ASSERT_FALSE(pid.empty());
  EXPECT_EQ(::kill(std::stoi(pid), SIGKILL), 0);
}

TEST_F(EventsTest, WhoFollowsSeesWhatComesAndEndsWithItsReader) {
  ASSERT_EQ(layerboot({"events", "--until", "0s"}).exit_code, 0);
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  UniqueFd read_end(ends[0]);
  UniqueFd write_end(ends[1]);
  std::thread follower([&] {
    const Outcome followed =
        run_program(words_of({"events", "--since", "1h", "--format", "{{.Event}} {{.Name}}"}), dir_ / "cache",
                    write_end.get());
    EXPECT_EQ(followed.exit_code, 0) << followed.err;
  });
  qemu("power_off");
  EXPECT_EQ(run({"--name", "web"}).exit_code, 0);
  std::string text;
  char c = 0;
  while (text.find("stop web\n") == std::string::npos && ::read(read_end.get(), &c, 1) == 1) text += c;
  EXPECT_EQ(text, "create web\nstart web\nstop web\n");
  read_end.reset();
  follower.join();
}

}  // namespace
}  // namespace layerboot::test
