// `layerboot run`.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>

#include "oci-mount/store/platform.h"
#include "tests/launcher/cli/command_line.h"
#include "tests/support/temp_dir.h"

namespace layerboot::launcher {
namespace {

TEST(RunOptions, RunHasDefaults) {
  const auto parsed = parse({"run", "oci:/images/debian:12"});
  ASSERT_TRUE(parsed.options) << parsed.text;
  const Options& options = *parsed.options;
  EXPECT_EQ(options.command, Command::kRun);
  EXPECT_EQ(options.image, "oci:/images/debian:12");
  EXPECT_EQ(options.name, "debian-12");
  EXPECT_EQ(options.memory_bytes, kDefaultMemoryBytes);
  EXPECT_FALSE(options.quota_bytes);
  EXPECT_EQ(options.kernel, "debian");
  EXPECT_EQ(options.accel_choice, AccelChoice::kAuto);
  EXPECT_EQ(options.net, Net::kUser);
  EXPECT_EQ(options.log_level, LogLevel::kInfo);
  EXPECT_GE(options.cpus, 1U);
}

TEST(RunOptions, TheImageIsTheFirstLineOfStandardInput) {
  const test::TempDir dir;
  const int kept = ::dup(STDIN_FILENO);
  for (const char* const said : {"web:1\n", "web:1\r\n", "\n\n  web:1 \r\nmore\n", "web:1"}) {
    std::ofstream(dir / "input") << said;
    const int input = ::open((dir / "input").c_str(), O_RDONLY | O_CLOEXEC);
    ASSERT_GE(::dup2(input, STDIN_FILENO), 0);
    ::close(input);
    const auto parsed = parse({"run", "--quiet"});
    ASSERT_TRUE(parsed.options) << parsed.text;
    EXPECT_EQ(parsed.options->image, "web:1") << said;
  }
  ::dup2(kept, STDIN_FILENO);
  ::close(kept);
}

TEST(RunOptions, RunTakesAPlatformThatThereIsAMachineFor) {
  const std::string own = store::platform_text(store::host_platform());
  EXPECT_EQ(parse({"run", "--platform", own.c_str(), "debian:12"}).options->platform, "") << "as if not said";
  EXPECT_EQ(parse({"run", "--platform", "linux/riscv64", "debian:12"}).options->platform, "linux/riscv64");
  EXPECT_EQ(parse({"run", "--platform", "riscv64", "debian:12"}).options->platform, "linux/riscv64");
  EXPECT_EQ(parse({"run", "--platform", "linux/arm/v7", "debian:12"}).options->platform, "linux/arm/v7");
  EXPECT_EQ(parse({"kernel", "--platform", "linux/riscv64"}).options->platform, "linux/riscv64");
  expect_misuse({"run", "--platform", "linux/s390x", "debian:12"}, "linux/arm64");
  expect_misuse({"run", "--platform", "windows/amd64", "debian:12"}, "windows/amd64");
}

TEST(RunOptions, RunTakesArchitecturesOfPrograms) {
  const auto parsed = parse({"run", "--binfmt", "riscv64,s390x", "--binfmt", "arm", "debian:12"});
  ASSERT_TRUE(parsed.options) << parsed.text;
  EXPECT_EQ(parsed.options->binfmt, (std::vector<std::string>{"riscv64", "s390x", "arm"}));
  expect_misuse({"run", "--binfmt", "vax", "debian:12"}, "riscv64");
  expect_misuse({"run", "--binfmt", "riscv64", "--disk-image", "debian:12"}, "--disk-image");
  expect_misuse({"run", "--binfmt", "riscv64", "--no-initrd", "debian:12"}, "--no-initrd");
}

TEST(RunOptions, AVmOnADiskHasANameOfItsOwn) {
  EXPECT_EQ(parse({"run", "debian:12"}).options->name, "debian-12");
  EXPECT_EQ(parse({"run", "--disk-image", "debian:12"}).options->name, "debian-12-disk");
  EXPECT_EQ(parse({"run", "--disk-image", "debian:12", "--name", "web"}).options->name, "web");
}

TEST(RunOptions, RunTakesAnUpperOrWhatTheVmHad) {
  EXPECT_FALSE(parse({"run", "debian:12"}).options->upper_choice);
  const auto parsed = parse({"run", "debian:12", "--upper", "disk", "--ephemeral"});
  ASSERT_TRUE(parsed.options) << parsed.text;
  EXPECT_EQ(parsed.options->upper_choice, UpperKind::kDisk);
  EXPECT_EQ(parse({"run", "debian:12", "--upper", "ram"}).options->upper_choice, UpperKind::kRam);
  expect_misuse({"run", "debian:12", "--upper", "floppy"}, "--upper");
  expect_misuse({"run", "debian:12", "--upper", "disk", "--no-initrd"}, "--no-initrd");
  expect_misuse({"run", "debian:12", "--upper", "ram", "--writeback"}, "--writeback");
  expect_misuse({"run", "debian:12", "--upper", "disk", "--disk-image"}, "--disk-image");
  expect_misuse({"run", "--upper", "disk", "--socket-path", "/s"}, "--socket-path");
}

TEST(RunOptions, ASwapDiskHasASensibleSize) {
  EXPECT_EQ(parse({"run", "debian:12"}).options->swap_bytes, 0U);
  EXPECT_EQ(parse({"run", "debian:12", "--swap", "512m"}).options->swap_bytes, 512U << 20U);
  expect_misuse({"run", "debian:12", "--swap", "4"}, "--swap");
  expect_misuse({"run", "debian:12", "--swap", "1T"}, "--swap: at most 256G");
  expect_misuse({"run", "debian:12", "--swap", "-1"}, "--swap");
  expect_misuse({"run", "debian:12", "--swap", "1G", "--no-initrd"}, "--no-initrd");
}

TEST(RunOptions, RunTakesAll) {
  const auto parsed =
      parse({"run",        "debian:12", "--name",       "web",      "--cpus", "3",        "--memory",
             "2000000000", "--disk",    "8G",           "--kernel", "host",   "--append", "single debug",
             "--accel",    "kvm",       "--machine",    "microvm",  "--net",  "none",     "--debug",
             "--vfsd",     "/v",        "--guest-init", "/g",       "--qemu", "/q"});
  ASSERT_TRUE(parsed.options) << parsed.text;
  const Options& options = *parsed.options;
  EXPECT_EQ(options.name, "web");
  EXPECT_EQ(options.cpus, 3U);
  EXPECT_EQ(options.memory_bytes, 1908U << 20U) << "rounded up to whole MiB";
  EXPECT_EQ(options.quota_bytes, std::uint64_t{8} << 30U);
  EXPECT_EQ(options.kernel, "host");
  EXPECT_EQ(options.append, "single debug");
  EXPECT_EQ(options.accel_choice, AccelChoice::kKvm);
  EXPECT_EQ(options.machine_choice, MachineChoice::kMicrovm);
  EXPECT_EQ(options.net, Net::kNone);
  EXPECT_EQ(options.log_level, LogLevel::kDebug);
  EXPECT_EQ(options.vfsd, "/v");
  EXPECT_EQ(options.guest_init, "/g");
  EXPECT_EQ(options.qemu, "/q");
}

TEST(RunOptions, RunTakesWhatTheGuestIsTold) {
  const auto parsed = parse({"run",   "i",       "-v", "/a:/b:ro", "--volume",   "/c:/d:overlay",
                             "-p",    "8080:80", "-e", "A=b",      "--env",      "LAYERBOOT_NO_SUCH",
                             "-u",    "www",     "-w", "/srv",     "--hostname", "web",
                             "--net", "passt"});
  ASSERT_TRUE(parsed.options) << parsed.text;
  const Options& options = *parsed.options;
  ASSERT_EQ(options.volumes.size(), 2U);
  EXPECT_EQ(options.volumes[0].kind, VolumeKind::kReadOnly);
  EXPECT_EQ(options.volumes[1].kind, VolumeKind::kOverlay);
  EXPECT_EQ(options.volumes[1].guest, "/d");
  ASSERT_EQ(options.published.size(), 1U);
  EXPECT_EQ(options.published[0].guest, 80);
  EXPECT_EQ(options.environment, (std::vector<std::string>{"A=b"}));
  EXPECT_EQ(options.user, "www");
  EXPECT_EQ(options.workdir, "/srv");
  EXPECT_EQ(options.hostname, "web");
  EXPECT_EQ(options.net, Net::kPasst);
}

TEST(RunOptions, RunTakesWhatDockersDoes) {
  const test::TempDir dir;
  const std::string file = (dir.path() / "env").string();
  std::ofstream(file) << "# a comment\n\nA=from the file\nB= b \r\nLAYERBOOT_NO_SUCH\n";
  const auto parsed = parse({"run",
                             "-m",
                             "512m",
                             "--network",
                             "passt",
                             "--env-file",
                             file.c_str(),
                             "-e",
                             "A=given",
                             "--mount",
                             "type=bind,source=/srv,target=/data",
                             "--tmpfs",
                             "/scratch:size=1m",
                             "--add-host",
                             "db:10.0.0.1",
                             "--dns",
                             "1.1.1.1",
                             "-p",
                             "80",
                             "-P",
                             "--label",
                             "team=web",
                             "-l",
                             "old",
                             "debian:12"});
  ASSERT_TRUE(parsed.options) << parsed.text;
  const Options& options = *parsed.options;
  EXPECT_EQ(options.memory_bytes, 512U << 20U);
  EXPECT_EQ(options.net, Net::kPasst);
  EXPECT_EQ(options.environment, (std::vector<std::string>{"A=from the file", "B= b ", "A=given"}))
      << "the later one counts";
  EXPECT_EQ(options.volumes.at(0).host, "/srv");
  EXPECT_EQ(options.tmpfs.at(0).guest, "/scratch");
  EXPECT_EQ(options.hosts.at(0).name, "db");
  EXPECT_EQ(options.dns, std::vector<std::string>{"1.1.1.1"});
  EXPECT_TRUE(options.published.at(0).random);
  EXPECT_TRUE(options.publish_all);
  EXPECT_EQ(options.labels, (std::vector<std::string>{"team=web", "old="}));
}

TEST(RunOptions, AnEnvFileMayBeOfRecords) {
  const test::TempDir dir;
  const std::string file = (dir.path() / "env").string();
  const std::string text("A=two\nlines\0# B=\0", 17);
  std::ofstream(file, std::ios::binary) << text;
  EXPECT_EQ(parse({"exec", "--env-file", file.c_str(), "vm", "x"}).options->environment,
            (std::vector<std::string>{"A=two\nlines", "# B="}));
  std::ofstream(file, std::ios::binary) << std::string("secret\0", 7);
  const auto refused = parse({"exec", "--env-file", file.c_str(), "vm", "x"});
  EXPECT_FALSE(refused.options);
  EXPECT_EQ(refused.text.find("secret"), std::string::npos) << refused.text;
}

TEST(RunOptions, ADockerEngine) {
  const auto plain = parse({"run", "--docker"});
  ASSERT_TRUE(plain.options) << plain.text;
  EXPECT_TRUE(plain.options->docker && plain.options->detach);
  EXPECT_EQ(plain.options->name, "docker");
  EXPECT_EQ(plain.options->image, "");
  const auto named = parse({"run", "--docker", "my/image"});
  ASSERT_TRUE(named.options) << named.text;
  EXPECT_EQ(named.options->name, "image");
  expect_misuse({"run", "--docker", "my/image", "sh"}, "layerboot docker VM");
  expect_misuse({"run", "--docker", "my/image", "--", "sh"}, "layerboot docker VM");
  expect_misuse({"run", "--docker", "--socket-path", "/s"}, "--docker");
  const auto used = parse({"docker", "vm", "run", "--rm", "-it", "busybox", "--", "sh"});
  ASSERT_TRUE(used.options) << used.text;
  EXPECT_EQ(used.options->guest_command,
            (std::vector<std::string>{"run", "--rm", "-it", "busybox", "--", "sh"}));
  expect_misuse({"docker"}, "VM");
}

TEST(RunOptions, RunOnADaemonThatServes) {
  const auto parsed = parse({"run", "--socket-path", "/run/s.sock"});
  ASSERT_TRUE(parsed.options) << parsed.text;
  EXPECT_EQ(parsed.options->socket_path, "/run/s.sock");
  EXPECT_EQ(parsed.options->name, "virtiofs");
}

TEST(RunOptions, WhatFollowsTheMarksIsTheGuests) {
  const auto run = parse({"run", "debian:12", "-q", "--", "sh", "-c", "exit 7", "--", "-q"});
  ASSERT_TRUE(run.options) << run.text;
  EXPECT_EQ(run.options->guest_command, (std::vector<std::string>{"sh", "-c", "exit 7", "--", "-q"}));
  const auto exec = parse({"exec", "-it", "-e", "A=1", "-u", "web", "vm", "ls", "-l", "--", "-x"});
  ASSERT_TRUE(exec.options) << exec.text;
  EXPECT_EQ(exec.options->command, Command::kExec);
  EXPECT_EQ(exec.options->name, "vm");
  EXPECT_TRUE(exec.options->interactive && exec.options->terminal);
  EXPECT_EQ(exec.options->guest_command, (std::vector<std::string>{"ls", "-l", "--", "-x"}));
  EXPECT_EQ(parse({"exec", "vm", "--", "-t"}).options->guest_command, std::vector<std::string>{"-t"});
  EXPECT_EQ(parse({"exec", "vm"}).options->guest_command, std::vector<std::string>{"/bin/sh"});
  const auto ssh = parse({"ssh", "-l", "web", "vm", "uptime", "-p"});
  ASSERT_TRUE(ssh.options) << ssh.text;
  EXPECT_EQ(ssh.options->user, "web");
  EXPECT_EQ(ssh.options->guest_command, (std::vector<std::string>{"uptime", "-p"}));
  for (const char* command : {"exec", "ssh"}) {
    expect_misuse({command, "vm", "--typo"}, "unknown option --typo");
    expect_misuse({command, "--typo", "vm", "ls"}, "--typo");
    expect_misuse({command, "vm", "-x", "ls"}, "unknown option -x");
    EXPECT_EQ(parse({command, "vm", "--", "--typo"}).options->guest_command,
              std::vector<std::string>{"--typo"});
  }
  expect_misuse({"exec", "vm", "--workdri", "/", "ls"}, "did you mean --workdir?");
  EXPECT_TRUE(parse({"docker", "vm", "--version"}).options);
  expect_misuse({"exec"}, "VM");
  expect_misuse({"exec", "no/name"}, "no/name");
  expect_misuse({"exec", "-e", "=x", "vm"}, "a name is missing");
}

TEST(RunOptions, RunSaysHowToBoot) {
  const auto parsed = parse({"run", "debian:12", "--boot", "init", "--cgroup", "1", "--entrypoint", "/e",
                             "--socket", "/tmp/d.sock:/run/docker.sock", "--socket", "/tmp/p.sock:80"});
  ASSERT_TRUE(parsed.options) << parsed.text;
  EXPECT_EQ(parsed.options->boot, Boot::kInit);
  EXPECT_TRUE(parsed.options->cgroup_v1);
  EXPECT_EQ(parsed.options->entrypoint, std::vector<std::string>{"/e"});
  ASSERT_EQ(parsed.options->sockets.size(), 2U);
  EXPECT_EQ(parsed.options->sockets[0].host, "/tmp/d.sock");
  EXPECT_EQ(parsed.options->sockets[0].guest, "/run/docker.sock");
  EXPECT_EQ(parsed.options->sockets[1].guest, "80");
  for (const char* bad : {"/tmp/x", "/tmp/x:", ":/run/x", "/tmp/x:relative", "/tmp/x:123456"})
    expect_misuse({"run", "debian:12", "--socket", bad}, "HOST:GUEST");
  expect_misuse({"run", "debian:12", "--cgroup", "3"}, "--cgroup");
}

TEST(RunOptions, WhatFollowsTheImageIsTheGuestsToo) {
  using Words = std::vector<std::string>;
  EXPECT_EQ(parse({"run", "a", "ls", "-l", "--color"}).options->guest_command,
            (Words{"ls", "-l", "--color"}));
  EXPECT_EQ(parse({"run", "--rm", "-it", "a", "sh"}).options->guest_command, (Words{"sh"}));
  const auto later = parse({"run", "a", "--name", "b", "sh", "-c", "x", "--name", "c"});
  ASSERT_TRUE(later.options) << later.text;
  EXPECT_EQ(later.options->name, "b");
  EXPECT_EQ(later.options->guest_command, (Words{"sh", "-c", "x", "--name", "c"}));
  EXPECT_EQ(parse({"run", "a", "env", "--", "x"}).options->guest_command, (Words{"env", "--", "x"}));
  expect_misuse({"run", "a", "--no-such"}, "--no-such");
}

TEST(RunOptions, AVariableWeDoNotHaveIsNotHandedOn) {
  ::unsetenv("LAYERBOOT_TEST_UNSET");
  ::setenv("LAYERBOOT_TEST_SET", "v", 1);
  EXPECT_EQ(parse({"run", "a", "-e", "LAYERBOOT_TEST_UNSET", "-e", "LAYERBOOT_TEST_SET", "-e", "E="})
                .options->environment,
            (std::vector<std::string>{"LAYERBOOT_TEST_SET=v", "E="}));
}

}  // namespace
}  // namespace layerboot::launcher
