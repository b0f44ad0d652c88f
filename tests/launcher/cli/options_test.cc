#include "launcher/cli/options.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

namespace layerboot::launcher {
namespace {

ParsedCommandLine parse(std::vector<const char*> arguments) {
  arguments.insert(arguments.begin(), "layerboot");
  return parse_command_line(static_cast<int>(arguments.size()), arguments.data());
}

void expect_misuse(const std::vector<const char*>& arguments, const std::string& about) {
  const auto parsed = parse(arguments);
  EXPECT_FALSE(parsed.options);
  EXPECT_EQ(parsed.exit_code, kExitUsage);
  EXPECT_NE(parsed.text.find(about), std::string::npos) << parsed.text;
  EXPECT_EQ(std::count(parsed.text.begin(), parsed.text.end(), '\n'), 1) << parsed.text;
}

TEST(Options, RunHasDefaults) {
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

TEST(Options, ImagesAreFetchedAsDockerDoes) {
  EXPECT_EQ(parse({"run", "debian:12"}).options->pull_policy, PullPolicy::kMissing);
  EXPECT_EQ(parse({"run", "--pull", "always", "debian:12"}).options->pull_policy, PullPolicy::kAlways);
  EXPECT_EQ(parse({"serve", "--pull=never", "debian:12"}).options->pull_policy, PullPolicy::kNever);
  EXPECT_FALSE(parse({"disk", "--tls-verify=false", "debian:12", "out"}).options->tls_verify);
  expect_misuse({"run", "--pull", "often", "debian:12"}, "often");
  const auto pull = parse({"pull", "--platform", "linux/arm64", "dir:/copy", "app:1"});
  ASSERT_TRUE(pull.options) << pull.text;
  EXPECT_EQ(pull.options->image_name, "app:1");
  EXPECT_EQ(pull.options->pull_platform, "linux/arm64");
  expect_misuse({"images", "--filter", "size=3"}, "--filter size=3");
  expect_misuse({"images", "--format", "{{.Colour}}"}, ".Colour");
  expect_misuse({"tag", "debian:12"}, "NAME");
}

TEST(Options, AVmOnADiskHasANameOfItsOwn) {
  EXPECT_EQ(parse({"run", "debian:12"}).options->name, "debian-12");
  EXPECT_EQ(parse({"run", "--disk-image", "debian:12"}).options->name, "debian-12-disk");
  EXPECT_EQ(parse({"run", "--disk-image", "debian:12", "--name", "web"}).options->name, "web");
}

TEST(Options, RunTakesAnUpperOrWhatTheVmHad) {
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

TEST(Options, RunTakesAll) {
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

TEST(Options, RunTakesWhatTheGuestIsTold) {
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

TEST(Options, RunOnADaemonThatServes) {
  const auto parsed = parse({"run", "--socket-path", "/run/s.sock"});
  ASSERT_TRUE(parsed.options) << parsed.text;
  EXPECT_EQ(parsed.options->socket_path, "/run/s.sock");
  EXPECT_EQ(parsed.options->name, "virtiofs");
}

TEST(Options, OtherCommands) {
  const auto serve = parse({"serve", "oci:/i", "--quota", "1G", "-q"});
  ASSERT_TRUE(serve.options) << serve.text;
  EXPECT_EQ(serve.options->command, Command::kServe);
  EXPECT_EQ(serve.options->quota_bytes, std::uint64_t{1} << 30U);
  EXPECT_EQ(serve.options->log_level, LogLevel::kWarn);
  const auto kernel = parse({"kernel", "--kernel", "debian"});
  ASSERT_TRUE(kernel.options) << kernel.text;
  EXPECT_EQ(kernel.options->command, Command::kKernel);
  const auto doctor = parse({"doctor"});
  ASSERT_TRUE(doctor.options) << doctor.text;
  EXPECT_EQ(doctor.options->command, Command::kDoctor);
}

TEST(Options, StoreCommands) {
  const auto pull = parse({"pull", "debian:12", "-q"});
  ASSERT_TRUE(pull.options) << pull.text;
  EXPECT_EQ(pull.options->command, Command::kPull);
  EXPECT_EQ(pull.options->image, "debian:12");
  EXPECT_TRUE(pull.options->tls_verify);
  EXPECT_EQ(pull.options->log_level, LogLevel::kWarn);
  for (const char* const flag : {"--tls-verify=false", "--no-tls-verify"}) {
    const auto insecure = parse({"pull", flag, "localhost:5000/app"});
    ASSERT_TRUE(insecure.options) << insecure.text;
    EXPECT_FALSE(insecure.options->tls_verify) << flag;
  }
  const auto images = parse({"images", "--json"});
  ASSERT_TRUE(images.options) << images.text;
  EXPECT_EQ(images.options->command, Command::kImages);
  EXPECT_TRUE(images.options->json);
  const auto rmi = parse({"rmi", "debian:12"});
  ASSERT_TRUE(rmi.options) << rmi.text;
  EXPECT_EQ(rmi.options->command, Command::kRmi);
  EXPECT_EQ(rmi.options->names, std::vector<std::string>{"debian:12"});
  const auto gc = parse({"gc"});
  ASSERT_TRUE(gc.options) << gc.text;
  EXPECT_EQ(gc.options->command, Command::kGc);
  expect_misuse({"pull"}, "IMAGE");
  expect_misuse({"rmi"}, "IMAGE");
  expect_misuse({"gc", "debian:12"}, "debian:12");
  expect_misuse({"images", "--yaml"}, "--yaml");
}

TEST(Options, HelpAndVersionAreNoErrors) {
  for (const char* flag : {"--help", "--version"}) {
    const auto parsed = parse({flag});
    EXPECT_FALSE(parsed.options);
    EXPECT_EQ(parsed.exit_code, 0);
    EXPECT_FALSE(parsed.text.empty());
  }
  const auto run = parse({"run", "--help"});
  EXPECT_EQ(run.exit_code, 0);
  for (const char* option :
       {"--name", "--cpus", "--memory", "--quota", "--kernel", "--append", "--accel", "--require-kvm",
        "--machine", "--net", "--quiet", "--debug", "--vfsd", "--guest-init", "--socket-path"}) {
    EXPECT_NE(run.text.find(option), std::string::npos) << option;
  }
}

TEST(Options, MisuseIsOneLineAndStatus2) {
  expect_misuse({}, "run, start");
  expect_misuse({"run"}, "IMAGE");
  expect_misuse({"serve"}, "IMAGE");
  expect_misuse({"fly"}, "fly");
  expect_misuse({"run", "i", "--wings"}, "--wings");
  expect_misuse({"run", "i", "--socket-path", "/s"}, "--socket-path");
  expect_misuse({"run", "i", "--cpus", "0"}, "--cpus");
  expect_misuse({"run", "i", "--cpus", "two"}, "--cpus");
  expect_misuse({"run", "i", "--memory", "4X"}, "4X");
  expect_misuse({"run", "i", "--memory", "1M"}, "64M");
  expect_misuse({"run", "i", "--disk", "0"}, "size 0");
  expect_misuse({"run", "i", "--accel", "xen"}, "xen");
  expect_misuse({"run", "i", "--name", "../up"}, "../up");
  expect_misuse({"run", "i", "-v", "/a"}, "HOST:GUEST");
  expect_misuse({"run", "i", "-p", "80"}, "HOST:GUEST");
  expect_misuse({"run", "i", "-p", "80:80", "--net", "none"}, "--publish");
  expect_misuse({"run", "i", "--hostname", "a b"}, "--hostname");
  expect_misuse({"run", "i", "--ssh-key", "/dev/null"}, "public key");
  expect_misuse({"run", "i", "--quiet", "--debug"}, "--debug");
  expect_misuse({"run", "i", "--accel", "tcg", "--require-kvm"}, "--require-kvm");
  expect_misuse({"run", "i", "--accel", "tcg", "--machine", "microvm"}, "microvm");
}

TEST(Options, WhatFollowsTheMarksIsTheGuests) {
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
  expect_misuse({"exec"}, "VM");
  expect_misuse({"exec", "no/name"}, "no/name");
  expect_misuse({"exec", "-e", "=x", "vm"}, "a name is missing");
}

TEST(Options, RunSaysHowToBoot) {
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

TEST(Options, WhatFollowsTheImageIsTheGuestsToo) {
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

TEST(Options, AVariableWeDoNotHaveIsNotHandedOn) {
  ::unsetenv("LAYERBOOT_TEST_UNSET");
  ::setenv("LAYERBOOT_TEST_SET", "v", 1);
  EXPECT_EQ(parse({"run", "a", "-e", "LAYERBOOT_TEST_UNSET", "-e", "LAYERBOOT_TEST_SET", "-e", "E="})
                .options->environment,
            (std::vector<std::string>{"LAYERBOOT_TEST_SET=v", "E="}));
}

TEST(Options, SizesAndDirectoriesThatAreMistypedAreRefused) {
  EXPECT_EQ(parse({"run", "a", "--memory", "512m"}).options->memory_bytes, 512U << 20U);
  EXPECT_EQ(parse({"resize", "vm", "1g"}).options->quota_bytes, std::uint64_t{1} << 30U);
  expect_misuse({"resize", "vm", "1"}, "at least 1M");
  expect_misuse({"run", "a", "--disk", "8"}, "at least 1M");
  expect_misuse({"run", "a", "-w", "work"}, "/work");
}

TEST(Options, ADiskIsWhatItsNameSays) {
  EXPECT_EQ(parse({"disk", "a", "out.qcow2"}).options->disk_output_format, DiskFormat::kQcow2);
  EXPECT_EQ(parse({"disk", "a", "out.raw"}).options->disk_output_format, DiskFormat::kRaw);
  EXPECT_EQ(parse({"disk", "a", "out"}).options->disk_output_format, DiskFormat::kRaw);
  EXPECT_EQ(parse({"disk", "a", "out", "--format", "qcow2"}).options->disk_output_format, DiskFormat::kQcow2);
  expect_misuse({"disk", "a", "out.qcow2", "--format", "raw"}, "out.qcow2");
  expect_misuse({"disk", "a", "out.img", "--format", "qcow2"}, "out.img");
  expect_misuse({"disk", "a", "out.vmdk"}, "qemu-img");
}

}  // namespace
}  // namespace layerboot::launcher
