// VMs that run, and the commands that end them, start them anew or look at them.
#include <gtest/gtest.h>

#include <algorithm>

#include "tests/process/running_fixture.h"

namespace layerboot::test {
namespace {

TEST_F(RunningVmTest, AClosedStreamTakesNoLockWithIt) {
  for (const char* closed : {"exec <&-", "exec >&-", "exec 2>&-", "exec <&- >&- 2>&-"}) {
    const Outcome started = run_after(closed, {"--boot", "init", "--net", "none", "-d", "--name", "c1"});
    ASSERT_EQ(started.exit_code, 0) << closed << ": " << started.err;
    const Outcome removed = layerboot({"rm", "c1"});
    EXPECT_EQ(removed.exit_code, 1) << closed;
    EXPECT_NE(removed.err.find("running"), std::string::npos) << closed << ": " << removed.err;
    EXPECT_EQ(layerboot({"reset", "c1"}).exit_code, 1) << closed;
    EXPECT_TRUE(fs::exists(vms() / "c1/config.json")) << closed;
    EXPECT_EQ(layerboot({"stop", "c1"}).exit_code, 0) << closed;
  }
}

TEST_F(RunningVmTest, WhatIsKilledIsNotStartedAgain) {
  ASSERT_EQ(run({"-d", "--name", "c1", "--restart", "always"}).exit_code, 0);
  EXPECT_EQ(layerboot({"kill", "c1"}).exit_code, 0);
  EXPECT_EQ(state_of("c1"), "stopped");
  ASSERT_EQ(run({"-d", "--name", "c2", "--restart", "always"}).exit_code, 0);
  EXPECT_EQ(layerboot({"rm", "-f", "c2"}).exit_code, 0);
  // The shortest pause before another start is 1 s.
  std::this_thread::sleep_for(std::chrono::seconds(2));
  EXPECT_EQ(starts(), 2U);
}

TEST_F(RunningVmTest, RestartStartsWhatHadToBeCutOff) {
  be_running_qemu(":");
  ASSERT_EQ(run({"-d", "--name", "c1"}).exit_code, 0);
  const Outcome outcome = layerboot(with_programs({"restart", "-t", "1", "c1"}));
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_NE(outcome.err.find("did not power off"), std::string::npos) << outcome.err;
  EXPECT_EQ(starts(), 2U);
  EXPECT_EQ(state_of("c1"), "running");
}

TEST_F(RunningVmTest, RestartStopsNothingThatCanNotStartAgain) {
  fs::create_directories(dir_ / "shared");
  ASSERT_EQ(run({"-d", "--name", "c1", "-v", (dir_ / "shared").string() + ":/data"}).exit_code, 0);
  const auto is_refused = [&](std::vector<std::string> words, const std::string& about) {
    const Outcome outcome = layerboot(std::move(words));
    EXPECT_EQ(outcome.exit_code, 1) << about;
    EXPECT_NE(outcome.err.find(about), std::string::npos) << outcome.err;
    EXPECT_EQ(state_of("c1"), "running") << about;
  };
  fs::rename(dir_ / "shared", dir_ / "elsewhere");
  is_refused(with_programs({"restart", "c1"}), "no directory there");
  fs::rename(dir_ / "elsewhere", dir_ / "shared");
  is_refused({"restart", "c1", "--qemu", "/no/such/qemu"}, "/no/such/qemu");
  fs::rename(dir_ / "kernel", dir_ / "elsewhere");
  is_refused(with_programs({"restart", "c1"}), "no kernel in");
  fs::rename(dir_ / "elsewhere", dir_ / "kernel");
  EXPECT_EQ(layerboot(with_programs({"restart", "c1"})).exit_code, 0);
  EXPECT_EQ(starts(), 2U);
}

TEST_F(RunningVmTest, RestartAsksForNoDaemonThatTheVmHasNot) {
  if (const std::string why = why_no_fuse(); !why.empty()) GTEST_SKIP() << why;
  const std::vector<std::string> as_disk{"--disk-image", "--disk", "256M", "--oci-mount",
                                         LAYERBOOT_OCI_MOUNT};
  const auto run_disk = [&](std::vector<std::string> more) {
    more.insert(more.end(), as_disk.begin(), as_disk.end());
    return run(std::move(more));
  };
  const auto restart = [&](const std::string& name) {
    return layerboot({"restart", name, "--qemu", (dir_ / "qemu").string(), "--vfsd", "/no/such/vfsd",
                      "--guest-init", LAYERBOOT_GUEST_INIT});
  };
  const Outcome started = run_disk({"-d", "--name", "d1"});
  ASSERT_EQ(started.exit_code, 0) << started.err;
  const Outcome again = restart("d1");
  EXPECT_EQ(again.exit_code, 0) << again.err;
  EXPECT_EQ(starts(), 2U);
  fs::create_directories(dir_ / "shared");
  ASSERT_EQ(run_disk({"-d", "--name", "d2", "-v", (dir_ / "shared").string() + ":/data"}).exit_code, 0);
  const Outcome refused = restart("d2");
  EXPECT_EQ(refused.exit_code, 1);
  EXPECT_NE(refused.err.find("/no/such/vfsd"), std::string::npos) << refused.err;
  EXPECT_EQ(state_of("d2"), "running");
}

TEST_F(RunningVmTest, AVolumeOfARunThatIsNotKeptIsInUse) {
  ASSERT_EQ(run({"-d", "--name", "web"}).exit_code, 0);
  ASSERT_EQ(layerboot({"stop", "web"}).exit_code, 0);
  ASSERT_EQ(run({"-d", "--ephemeral", "--name", "web", "-v", "data:/data"}).exit_code, 0);
  const Outcome refused = layerboot({"volume", "rm", "data"});
  EXPECT_EQ(refused.exit_code, 1);
  EXPECT_NE(refused.err.find("in use by a VM that runs"), std::string::npos) << refused.err;
  ASSERT_EQ(layerboot({"stop", "web"}).exit_code, 0);
  const Outcome removed = layerboot({"volume", "rm", "data"});
  EXPECT_EQ(removed.exit_code, 0) << removed.err;
}

TEST_F(RunningVmTest, ARunThatNobodyWaitsForAnyMoreIsNotStartedAgain) {
  const std::string go = (dir_ / "go").string();
  be_running_qemu("power_off", str_cat("while [ ! -e ", go, " ]; do sleep 0.1; done"));
  std::vector<std::string> words = {"sh", "-c",
                                    str_cat("\"$@\" & run=$!\nwhile [ ! -e ", (dir_ / "starts").string(),
                                            " ]; do sleep 0.1; done\nkill -TERM $run; wait $run; : > ", go),
                                    "sh"};
  for (std::string& word :
       words_of(run_words({"--boot", "init", "--net", "none", "-d", "--name", "c1", "--restart", "always"})))
    words.push_back(std::move(word));
  run_program(words, dir_ / "cache");
  EXPECT_TRUE(comes_true([&] { return state_of("c1") == "stopped" || state_of("c1").empty(); }));
  std::this_thread::sleep_for(std::chrono::seconds(2));
  EXPECT_EQ(starts(), 1U);
}

TEST_F(RunningVmTest, AVmWhoseRecordCanNotBeWrittenIsNotLeftBehind) {
  be_running_qemu("power_off", "mkdir -p " + (vms() / "c1/config.json/x").string());
  for (const auto& how : {std::vector<std::string>{"-d", "--restart", "always"}, {}}) {
    std::vector<std::string> words{"--name", "c1"};
    words.insert(words.end(), how.begin(), how.end());
    const Outcome outcome = run(words);
    EXPECT_EQ(outcome.exit_code, 1);
    EXPECT_NE(outcome.err.find("config.json"), std::string::npos) << outcome.err;
    EXPECT_FALSE(fs::exists(vms() / "c1")) << "with settings that nobody knows";
  }
  EXPECT_EQ(starts(), 2U);
}

TEST_F(RunningVmTest, WaitingForAGuestThatNeverAnswersCanBeEnded) {
  const auto ended_while = [&](const std::vector<std::string>& waiting, const std::string& before) {
    std::vector<std::string> words = {
        "sh", "-c", str_cat("\"$@\" & p=$!\n", before, "; sleep 1; kill -TERM $p; wait $p; exit $?"), "sh"};
    for (const std::string& word : words_of(waiting)) words.push_back(word);
    return run_program(words, dir_ / "cache");
  };
  const Outcome run = ended_while(
      run_words({"--boot", "init", "--net", "none", "-d", "--wait", "--wait-timeout", "20", "--name", "c1"}),
      str_cat("while ! [ -e ", (vms() / "c1/config.json").string(), " ]; do sleep 0.1; done"));
  EXPECT_EQ(run.exit_code, 128 + SIGTERM) << run.err;
  EXPECT_NE(run.err.find("VM c1 goes on"), std::string::npos) << run.err;
  EXPECT_EQ(state_of("c1"), "running");
  EXPECT_EQ(ended_while({"exec", "--probe", "c1"}, ":").exit_code, 128 + SIGTERM);
  EXPECT_EQ(state_of("c1"), "running");
}

TEST_F(RunningVmTest, NoGuestIsStartedWithoutItsArguments) {
  be_qemu("#!/bin/sh\nfor word; do [ -n \"$word\" ] || echo empty >> " + (dir_ / "starts").string() +
          "; done\nexit 3\n");
  for (std::size_t size_bytes = 1800; size_bytes < 1960; size_bytes += 16) {
    const Outcome outcome = run({"--name", "c1", "--swap", "64M", "--append", std::string(size_bytes, 'x')});
    EXPECT_EQ(outcome.exit_code, 1);
    if (outcome.err.find("--append") != std::string::npos) break;
  }
  EXPECT_EQ(starts(), 0U) << "-append \"\"";
  const Outcome odd = run({"--name", "c1", "--append", "a\nb"});
  EXPECT_NE(odd.err.find("--append"), std::string::npos) << odd.err;
}

TEST_F(RunningVmTest, AListsNamesAloneAreThoseOfQuiet) {
  ASSERT_EQ(run({"-d", "--name", "c1"}).exit_code, 0);
  ASSERT_EQ(run({"-d", "--name", "c2"}).exit_code, 0);
  EXPECT_EQ(layerboot({"ps", "-q"}).out, "c1\nc2\n");
  ASSERT_EQ(layerboot({"stop", "c1", "c2"}).exit_code, 0);
  EXPECT_EQ(layerboot({"ps", "-q"}).out, "");
  EXPECT_EQ(layerboot({"ps", "-aq"}).out, "c1\nc2\n");
  EXPECT_TRUE(layerboot({"ps", "-aq", "--json"}).out.starts_with('['));
  ASSERT_EQ(layerboot({"volume", "create", "data"}).exit_code, 0);
  EXPECT_EQ(layerboot({"volume", "ls", "-q"}).out, "data\n");
  EXPECT_EQ(layerboot({"images", "-q"}).out, "");
  const Outcome both = layerboot(with_programs({"start", "c1", "c2"}));
  EXPECT_EQ(both.out, "c1\nc2\n") << both.err;
  EXPECT_EQ(layerboot({"ps", "-q"}).out, "c1\nc2\n");
}

TEST_F(RunningVmTest, WhatNoRecordCanHoldIsRefused) {
  const fs::path odd = dir_ / "v\xff";
  fs::create_directories(odd);
  const Outcome refused = run({"-d", "--name", "c1", "-v", odd.string() + ":/d"});
  EXPECT_EQ(refused.exit_code, 1);
  EXPECT_NE(refused.err.find("--volume"), std::string::npos) << refused.err;
  EXPECT_NE(refused.err.find("UTF-8"), std::string::npos) << refused.err;
  EXPECT_EQ(starts(), 0U);
  EXPECT_EQ(run({"-d", "--rm", "--name", "c1", "-v", odd.string() + ":/d"}).exit_code, 0);
}

}  // namespace
}  // namespace layerboot::test
