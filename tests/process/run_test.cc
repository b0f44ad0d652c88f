// layerboot run whose VM comes to nothing: what was there before is there afterwards.
#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <algorithm>

#include "oci-mount/base/unique_fd.h"
#include "tests/process/fake_run_fixture.h"

namespace layerboot::test {
namespace {

std::string content(const fs::path& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

/// With a QEMU that ends before it has run anything.
class FailedRunTest : public FakeRunTest {
 protected:
  void SetUp() override {
    FakeRunTest::SetUp();
    be_broken_qemu();
  }
  /// A VM of another image that has run before, and written something.
  void make_vm(const std::string& name) const {
    fs::create_directories(vms() / name / "disk");
    std::ofstream(vms() / name / "written") << "dear";
    std::ofstream(vms() / name / "config.json") << record_of(name);
  }
  static std::string record_of(const std::string& name) {
    return str_cat(R"({"image":"debian:12","machine_id":"0123456789abcdef0123456789abcdef","name":")", name,
                   R"(","quota_bytes":1000000000,"run":{"memory_bytes":2000683008},"version":1})");
  }
};

/// With a QEMU that says it runs, writes to the header of the VM's disk what code in it could, and dies.
class TakenOverRunTest : public FakeRunTest {
 protected:
  void SetUp() override {
    if (const std::string why = why_no_fuse(); !why.empty()) GTEST_SKIP() << why;
    FakeRunTest::SetUp();
    const std::string disk = (vms() / "bad/disk.qcow2").string();
    be_qemu(str_cat("#!/bin/bash\ncase $* in *--version*) exit;; esac\necho \"$*\" >>",
                    (dir_ / "starts").string(),
                    "\nprintf '{\"QMP\": {}}\\r\\n' >&5\nread -r line <&5\n"
                    "printf '{\"return\": {}, \"id\": 1}\\r\\n' >&5\nsleep 1\n"
                    "qemu-img rebase -u -f qcow2 -F raw -b /etc/shadow ",
                    disk, "\nexit 3\n"));
  }
  Outcome run_bad(const std::vector<std::string>& more) const {
    std::vector<std::string> words{"--disk-image",      "--disk", "256M", "--name", "bad", "--oci-mount",
                                   LAYERBOOT_OCI_MOUNT, "--net",  "none"};
    words.insert(words.end(), more.begin(), more.end());
    return run(words);
  }
  std::ptrdiff_t starts() const { return std::ranges::count(content(dir_ / "starts"), '\n'); }
};

TEST_F(TakenOverRunTest, ADiskWhoseHeaderNamesAnotherBaseIsNotOpened) {
  const Outcome first = run_bad({});
  ASSERT_EQ(starts(), 1) << first.err;
  EXPECT_NE(content(dir_ / "starts").find("backing.driver=raw"), std::string::npos);
  const Outcome second = run_bad({});
  EXPECT_EQ(starts(), 1);
  EXPECT_EQ(second.exit_code, 1);
  EXPECT_NE(second.err.find("/etc/shadow"), std::string::npos) << second.err;
  EXPECT_NE(second.err.find("layerboot reset"), std::string::npos) << second.err;
}

TEST_F(TakenOverRunTest, NorByTheSameRunsNextStart) {
  const Outcome outcome = run_bad({"--restart", "on-failure:2"});
  EXPECT_EQ(starts(), 1);
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_NE(outcome.err.find("/etc/shadow"), std::string::npos) << outcome.err;
}

TEST_F(FailedRunTest, LeavesNothingOfANewVm) {
  const Outcome outcome = run({"--name", "new"});
  EXPECT_EQ(outcome.exit_code, 1) << outcome.err;
  EXPECT_FALSE(fs::exists(vms() / "new"));
}

TEST_F(FailedRunTest, KeepsWhatAVmIsRememberedBy) {
  make_vm("old");
  const Outcome outcome = run({"--name", "old", "--memory", "3G", "--disk", "9G"});
  EXPECT_EQ(outcome.exit_code, 1) << outcome.err;
  EXPECT_EQ(content(vms() / "old/config.json"), record_of("old"));
  EXPECT_EQ(content(vms() / "old/written"), "dear");
}

TEST_F(FailedRunTest, AThrowAwayRunRemovesNoOthersVm) {
  make_vm("old");
  const Outcome named = run({"--rm", "--name", "old"});
  EXPECT_EQ(named.exit_code, 1);
  EXPECT_NE(named.err.find("there already"), std::string::npos) << named.err;
  EXPECT_EQ(content(vms() / "old/written"), "dear");
  // The name that the image gives is taken as well: another is made of it, and goes with the run.
  const std::string by_default = "image-latest";
  make_vm(by_default);
  const Outcome unnamed = run({"--rm"});
  EXPECT_EQ(unnamed.exit_code, 1);
  EXPECT_EQ(unnamed.err.find("there already"), std::string::npos) << unnamed.err;
  EXPECT_EQ(content(vms() / by_default / "written"), "dear");
  EXPECT_FALSE(fs::exists(vms() / (by_default + "-2")));
}

TEST_F(FailedRunTest, ADaemonsOwnWordsAreNotTheRuns) {
  const auto outcome = run({});
  EXPECT_NE(outcome.exit_code, 0);
  EXPECT_EQ(outcome.err.find("serving"), std::string::npos) << outcome.err;
  EXPECT_EQ(outcome.err.find("vfsd"), std::string::npos) << outcome.err;
}

TEST_F(FailedRunTest, WhatQemuSaidLastIsShownAndCommandsNoTerminal) {
  be_qemu("#!/bin/sh\nprintf 'no \\033]0;x\\007\\nlayerboot: error: forged' >&2\nexit 3\n");
  for (const auto& how : {std::vector<std::string>{}, {"-d"}}) {
    const Outcome outcome = run(how);
    EXPECT_EQ(outcome.exit_code, 1);
    EXPECT_NE(outcome.err.find("QEMU: no \\033]0;x\\007\n"), std::string::npos) << outcome.err;
    EXPECT_NE(outcome.err.find("QEMU: layerboot: error: forged\n"), std::string::npos) << outcome.err;
    EXPECT_NE(outcome.err.find("QEMU failed with exit status 3"), std::string::npos) << outcome.err;
  }
}

TEST_F(FailedRunTest, AFileBelowWhatIsMountedIsToldToBeHidden) {
  be_qemu("#!/bin/sh\nexit 3\n");
  std::ofstream(dir_ / "file") << "x";
  const std::string file = (dir_ / "file").string() + ":/data/x/file:ro";
  for (const auto& hiding : {std::vector<std::string>{"-v", dir_.path().string() + ":/data"},
                             std::vector<std::string>{"--tmpfs", "/data/x"}}) {
    std::vector<std::string> words = hiding;
    words.insert(words.end(), {"-v", file});
    const auto outcome = run(words);
    EXPECT_NE(outcome.err.find("/data/x/file is hidden by "), std::string::npos) << outcome.err;
  }
}

TEST_F(FailedRunTest, LogsOfASilentConsoleSaySoToAPerson) {
  make_vm("quiet");
  const auto piped = layerboot({"logs", "quiet"});
  EXPECT_EQ(piped.exit_code, 0);
  EXPECT_EQ(piped.out + piped.err, "");
  std::string line;
  for (const std::string& word : words_of({"logs", "quiet"})) line += "'" + word + "' ";
  const auto seen = run_program({"script", "-qec", line, "/dev/null"}, dir_ / "cache");
  EXPECT_EQ(seen.exit_code, 0) << seen.out;
  EXPECT_NE(seen.out.find("the console has said nothing"), std::string::npos) << seen.out;
}

TEST_F(FailedRunTest, SignalsThatSayNothingEndNothing) {
  const std::string script = "cd " + dir_.path().string() +
                             "; mkfifo in; XDG_DATA_HOME=$PWD " LAYERBOOT_LAUNCHER
                             " run < in 2> said & run=$!\n"
                             "exec 3> in; until grep -q waiting said; do sleep 0.1; done\n"
                             "for name in USR1 USR2 PIPE; do kill -$name $run; done; exec 3>&-\n"
                             "wait $run; status=$?; cat said >&2; exit $status";
  const auto outcome = run_program({"sh", "-c", script}, dir_ / "cache");
  EXPECT_EQ(outcome.exit_code, 2) << outcome.err;
  EXPECT_NE(outcome.err.find("give an IMAGE"), std::string::npos) << outcome.err;
}

TEST_F(FailedRunTest, RootsQemuIsApartFromTheHostsNetworkWhereItNeedsNone) {
  if (::geteuid() != 0) GTEST_SKIP() << "an ordinary user's QEMU may do what that user may";
  const std::string found = (dir_ / "found").string();
  be_qemu(
      str_cat("#!/bin/sh\ncase $* in *--version*) echo 'QEMU emulator version 7.2.0'; exit;; esac\n"
              "for name in net ipc uts; do readlink /proc/self/ns/$name; done >",
              found, "\nexit 3\n"));
  const auto apart = [&](const std::vector<std::string>& more) {
    fs::remove(found);
    const Outcome outcome = run(more);
    std::ifstream lines(found);
    std::string names;
    for (const char* name : {"net", "ipc", "uts"}) {
      std::string line;
      EXPECT_TRUE(std::getline(lines, line)) << outcome.err;
      if (line != fs::read_symlink(str_cat("/proc/self/ns/", name)).string()) names += str_cat(name, ' ');
    }
    return names;
  };
  EXPECT_EQ(apart({"--net", "none"}), "net ipc uts ");
  EXPECT_EQ(apart({"--net", "user"}), "ipc uts ");
  if (run_program({"sh", "-c", "command -v passt"}, dir_ / "cache").exit_code == 0) {
    EXPECT_EQ(apart({"--net", "passt"}), "net ipc uts ");
    EXPECT_EQ(apart({"--net", "passt", "--net", "user"}), "ipc uts ");
  }
}

TEST_F(FailedRunTest, AServedSocketIsItsGroupsAsWell) {
  if (::geteuid() != 0) GTEST_SKIP() << "another group's";
  const std::string socket = (dir_ / "s").string();
  const std::string command = str_cat("\"$@\" & p=$!; i=0; while [ ! -S ", socket,
                                      " ] && [ $i -lt 200 ]; do sleep 0.1; i=$((i + 1)); done\n"
                                      "stat -c '%a %g' ",
                                      socket, "\nkill $p; wait $p");
  std::vector<std::string> words{"sh", "-c", command, "sh"};
  for (std::string& word :
       words_of({"serve", reference_, "--kernel", (dir_ / "kernel").string(), "--vfsd", LAYERBOOT_VFSD,
                 "--guest-init", LAYERBOOT_GUEST_INIT, "--socket-path", socket, "--socket-group", "54321"}))
    words.push_back(std::move(word));
  const Outcome outcome = run_program(words, dir_ / "cache");
  EXPECT_EQ(outcome.out, "660 54321\n") << outcome.err;
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
}

TEST_F(FailedRunTest, DoctorFetchesNothing) {
  const fs::path tools = dir_ / "tools";
  fs::create_directories(tools);
  for (const char* tool : {"apt-get", "apt", "curl", "wget", "skopeo"}) {
    std::ofstream(tools / tool) << "#!/bin/sh\necho " << tool << " \"$@\" >> " << (dir_ / "asked").string()
                                << "\nexit 1\n";
    fs::permissions(tools / tool, fs::perms::owner_all);
  }
  auto words = words_of({"doctor"});
  words.insert(words.begin() + 1, str_cat("PATH=", tools.string(), ":", std::string_view(::getenv("PATH"))));
  const auto outcome = run_program(words, dir_ / "cache");
  EXPECT_NE(outcome.out.find("is not here yet"), std::string::npos) << outcome.out << outcome.err;
  // A version may be asked for; nothing may be fetched.
  for (const char* word : {"download", "install", "update", "http", "copy"})
    EXPECT_EQ(content(dir_ / "asked").find(word), std::string::npos) << content(dir_ / "asked");
  EXPECT_FALSE(fs::exists(dir_ / "data/layerboot/kernels"));
}

TEST_F(FailedRunTest, OneHostPortForTwoIsRefusedBeforeAnythingStarts) {
  be_qemu("#!/bin/sh\n: > " + (dir_ / "started").string() + "\nexit 3\n");
  for (const char* address : {"", "0.0.0.0:"}) {
    const auto outcome = run({"-p", "18080:80", "-p", std::string(address) + "18080:81"});
    EXPECT_EQ(outcome.exit_code, 1) << outcome.err;
    EXPECT_NE(outcome.err.find("18080"), std::string::npos) << outcome.err;
    EXPECT_FALSE(fs::exists(dir_ / "started"));
  }
}

TEST_F(FailedRunTest, APortInUseIsFoundBeforeAnythingStarts) {
  const UniqueFd taken(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size_bytes = sizeof(address);
  ASSERT_EQ(::bind(taken.get(), reinterpret_cast<sockaddr*>(&address), size_bytes), 0);
  ASSERT_EQ(::listen(taken.get(), 1), 0);
  ASSERT_EQ(::getsockname(taken.get(), reinterpret_cast<sockaddr*>(&address), &size_bytes), 0);
  const Outcome outcome = run({"--name", "new", "-p", str_cat(ntohs(address.sin_port), ":80")});
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_NE(outcome.err.find("is in use"), std::string::npos) << outcome.err;
  EXPECT_FALSE(fs::exists(vms() / "new"));
}

TEST_F(FailedRunTest, LessMemoryThanTheKernelNeedsIsRefusedBeforeAnythingStarts) {
  const Outcome refused = layerboot({"run", reference_, "--name", "new", "-m", "79M"});
  EXPECT_EQ(refused.exit_code, 1);
  EXPECT_NE(refused.err.find("needs 80.0 MiB"), std::string::npos) << refused.err;
  EXPECT_FALSE(fs::exists(vms() / "new"));
  // Another kernel's needs are not known.
  const Outcome warned = run({"--name", "new", "-m", "64M"});
  EXPECT_NE(warned.err.find("may do for a command"), std::string::npos) << warned.err;
}

TEST_F(FailedRunTest, AFileForSomebodyElsesDaemonIsRefused) {
  std::ofstream(dir_ / "file") << "x";
  const Outcome refused =
      layerboot({"run", "--socket-path", (dir_ / "s").string(), "--kernel", (dir_ / "kernel").string(),
                 "--guest-init", LAYERBOOT_GUEST_INIT, "--qemu", (dir_ / "qemu").string(), "--accel", "tcg",
                 "-v", (dir_ / "file").string() + ":/etc/file:ro"});
  EXPECT_EQ(refused.exit_code, 1);
  EXPECT_NE(refused.err.find("with --socket-path"), std::string::npos) << refused.err;
}

TEST_F(FailedRunTest, AFileToBeWrittenToIsRefusedWithTheReason) {
  std::ofstream(dir_ / "settings") << "a=1";
  const std::string volume = str_cat((dir_ / "settings").string(), ":/etc/settings");
  const Outcome outcome = run({"--name", "new", "-v", volume});
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_NE(outcome.err.find("replaces it"), std::string::npos) << outcome.err;
  EXPECT_NE(outcome.err.find("give its directory"), std::string::npos) << outcome.err;
  EXPECT_FALSE(fs::exists(vms() / "new"));
  EXPECT_EQ(run({"--name", "new", "-v", volume + ":ro"}).err.find("replaces it"), std::string::npos);
}

}  // namespace
}  // namespace layerboot::test
