#include "launcher/cli/options.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "tests/launcher/cli/command_line.h"

namespace layerboot::launcher {
namespace {

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

TEST(Options, WhatIsNearIsNamed) {
  expect_misuse({"strat", "vm"}, "did you mean start");
  expect_misuse({"run", "--memroy", "1G", "i"}, "did you mean --memory?");
  expect_misuse({"stop", "--tme=3", "vm"}, "did you mean --time?");
}

TEST(Options, TheHelpBeginsWithWhatOneNeedsFirst) {
  const std::string all = parse({"--help"}).text;
  EXPECT_LT(all.find("Run VMs:"), all.find("Images:"));
  EXPECT_LT(all.find("  run "), all.find("  ps "));
  const std::string run = parse({"run", "-h"}).text;
  EXPECT_LT(run.find("--volume"), run.find("--no-initrd"));
  EXPECT_LT(run.find("What one needs first:"), run.find("--volume"));
}

TEST(Options, CommandsAboutVms) {
  const auto logs = parse({"logs", "-t", "-n", "5", "--since", "1700000000", "vm"});
  ASSERT_TRUE(logs.options) << logs.text;
  EXPECT_EQ(logs.options->tail, 5U);
  EXPECT_EQ(logs.options->since, 1'700'000'000);
  EXPECT_FALSE(parse({"logs", "-n", "all", "vm"}).options->tail);
  EXPECT_FALSE(logs.options->raw);
  EXPECT_TRUE(parse({"logs", "--raw", "--launcher", "vm"}).options->raw);
  expect_misuse({"logs", "--tail", "many", "vm"}, "many");
  expect_misuse({"logs", "--since", "soon", "vm"}, "soon");
  expect_misuse({"ps", "--filter", "size=3"}, "--filter size=3");
  expect_misuse({"ps", "--format", "{{.Colour}}"}, ".Colour");
  for (const char* state : {"state=running", "state=paused", "state=starting", "state=stopping",
                            "state=stopped", "state=restarting", "state=serving", "state=unknown"})
    EXPECT_TRUE(parse({"ps", "--filter", state}).options) << state;
  expect_misuse({"ps", "--filter", "state=gone"}, "restarting");
  EXPECT_TRUE(parse({"ps", "--filter", "status=exited", "--format", "{{.Name}}\t{{.Ports}}"}).options);
  EXPECT_EQ(parse({"rename", "old", "new"}).options->new_name, "new");
  expect_misuse({"rename", "old", "n/w"}, "n/w");
  expect_misuse({"volume", "ls", "a"}, "no names");
  expect_misuse({"volume", "rm"}, "give names");
  expect_misuse({"exec", "-d", "vm"}, "COMMAND");
  expect_misuse({"run", "i", "--wait"}, "--detach");
  expect_misuse({"run", "i", "--restart", "always", "--rm"}, "--rm");
  const auto cp = parse({"cp", "-aL", "vm:/a", "b"});
  ASSERT_TRUE(cp.options) << cp.text;
  EXPECT_TRUE(cp.options->archive && cp.options->follow_link);
  EXPECT_EQ(cp.options->copy_from, "vm:/a");
}

TEST(Options, WhatMeansSomethingElseHereIsSaid) {
  expect_misuse({"run", "i", "--net", "host"}, "a network of its own");
  expect_misuse({"run", "i", "--net", "bridge"}, "leave --net out");
  expect_misuse({"run", "i", "--net", "user", "--net", "passt"}, "give it first");
  expect_misuse({"run", "i", "-P", "--net", "none"}, "--publish");
  expect_misuse({"run", "i", "--tmpfs", "/a", "--no-initrd"}, "--no-initrd");
  expect_misuse({"run", "i", "--env-file", "/no/such"}, "/no/such");
  expect_misuse({"run", "i", "--dns", "dns.example"}, "no address");
}

TEST(Options, OtherCommands) {
  const auto grouped = parse({"serve", "oci:/i", "--socket-path", "/s", "--socket-group", "54321"});
  ASSERT_TRUE(grouped.options) << grouped.text;
  EXPECT_EQ(grouped.options->socket_group, "54321");
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
  EXPECT_TRUE(parse({"images", "--tree", "--json"}).options->image_tree);
  expect_misuse({"images", "--tree", "--names"}, "--names");
  expect_misuse({"images", "--tree", "--format", "json"}, "--format");
}

TEST(Options, ImagesAreMadeAndSent) {
  const auto commit = parse({"commit", "web", "app:1", "-c", "CMD x", "--change", "ENV A=1", "-m", "what",
                             "--squash", "--compression", "zstd"});
  ASSERT_TRUE(commit.options) << commit.text;
  EXPECT_EQ(commit.options->command, Command::kCommit);
  EXPECT_EQ(commit.options->name, "web");
  EXPECT_EQ(commit.options->image_name, "app:1");
  EXPECT_EQ(commit.options->commit.changes, (std::vector<std::string>{"CMD x", "ENV A=1"}));
  EXPECT_EQ(commit.options->commit.compression, "zstd");
  EXPECT_TRUE(commit.options->commit.squash);
  EXPECT_FALSE(commit.options->commit.keep_identity);
  EXPECT_FALSE(commit.options->rebase);
  EXPECT_TRUE(parse({"commit", "web", "--rebase"}).options->rebase);
  expect_misuse({"commit", "../web"}, "../web");
  expect_misuse({"commit", "--compression", "xz", "web"}, "xz");
  const auto build = parse({"build", "-t", "app", "--build-arg", "A=1", "--build-arg", "B=2", "dir"});
  ASSERT_TRUE(build.options) << build.text;
  EXPECT_EQ(build.options->build.context, "dir");
  EXPECT_EQ(build.options->build.arguments.size(), 2U);
  expect_misuse({"build"}, "CONTEXT");
  EXPECT_EQ(parse({"push", "--tls-verify=false", "app", "localhost:5000/app"}).options->image_name,
            "localhost:5000/app");
  EXPECT_EQ(parse({"save", "app"}).options->archive_kind, ArchiveKind::kOci);
  EXPECT_EQ(parse({"save", "--format", "docker-archive", "app"}).options->archive_kind, ArchiveKind::kDocker);
  EXPECT_EQ(parse({"load", "-i", "file"}).options->input, "file");
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
  expect_misuse({"serve", "oci:/i", "--socket-path", "/s", "--socket-group", "no-such"}, "no group no-such");
  expect_misuse({"serve", "oci:/i", "--socket-group", "0"}, "--socket-path");
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
  expect_misuse({"run", "i", "-p", ":80"}, "HOST:]GUEST");
  expect_misuse({"run", "i", "-p", "80:80", "--net", "none"}, "--publish");
  expect_misuse({"run", "i", "--hostname", "a b"}, "--hostname");
  expect_misuse({"run", "i", "--hostname", std::string(65, 'a').c_str()}, "--hostname");
  expect_misuse({"run", "i", "--hostname", ""}, "--hostname");
  expect_misuse({"run", "i", "--ssh-key", "/dev/null"}, "public key");
  expect_misuse({"run", "i", "--quiet", "--debug"}, "--debug");
  expect_misuse({"run", "i", "--accel", "tcg", "--require-kvm"}, "--require-kvm");
  expect_misuse({"run", "i", "--accel", "tcg", "--machine", "microvm"}, "microvm");
}

TEST(Options, AWordThatIsNoChoiceIsRefusedByTheWordsThereAre) {
  expect_misuse({"run", "--pull", "sometimes", "i"}, "--pull: sometimes not in {always,missing,never} (see");
  expect_misuse({"run", "--accel", "xen", "i"}, "--accel: xen not in {auto,kvm,tcg} (see");
  expect_misuse({"run", "--boot", "bios", "i"}, "--boot: bios not in {");
  expect_misuse({"run", "--machine", "pc", "i"}, "--machine: pc not in {");
  expect_misuse({"save", "--format", "zip", "i"}, "--format: zip not in {");
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

TEST(Options, QuietListsHaveNamesAlone) {
  EXPECT_TRUE(parse({"ps", "-aq"}).options->names_only);
  EXPECT_TRUE(parse({"images", "--quiet"}).options->names_only);
  EXPECT_TRUE(parse({"volume", "ls", "-q"}).options->names_only);
  EXPECT_FALSE(parse({"volume", "rm", "-q", "data"}).options->names_only);
  EXPECT_FALSE(parse({"ps", "-q", "--json"}).options->names_only);
  EXPECT_FALSE(parse({"images", "-q", "--tree"}).options->names_only);
  EXPECT_FALSE(parse({"ps", "-q", "--format", "{{.Name}}"}).options->names_only);
}

TEST(Options, SeveralVmsAreStartedButOneIsAttachedTo) {
  EXPECT_EQ(parse({"start", "a", "b"}).options->names, (std::vector<std::string>{"a", "b"}));
  EXPECT_TRUE(parse({"start", "-a", "a"}).options->attach);
  expect_misuse({"start", "-a", "a", "b"}, "one VM");
  expect_misuse({"start", "a", "n/w"}, "n/w");
}

TEST(Options, WhatIsWrongIsSaidOnce) {
  const auto said_once = [](const std::vector<const char*>& arguments, const std::string& text) {
    const std::string said = parse(arguments).text;
    EXPECT_TRUE(said.starts_with("layerboot: error: " + text)) << said;
    const auto first = said.find("see layerboot");
    EXPECT_NE(first, std::string::npos) << said;
    EXPECT_EQ(said.find("see layerboot", first + 1), std::string::npos) << said;
  };
  said_once({"run", "i", "--restart", "x"}, "--restart x: give ");
  said_once({"run", "i", "-p", "a"}, "--publish a: ");
  said_once({"run", "i", "-m", "4X"}, "-m,--memory: '4X'");
  said_once({"run", "--nonsense", "i"}, "run: unknown option --nonsense: see layerboot run --help");
}

}  // namespace
}  // namespace layerboot::launcher
