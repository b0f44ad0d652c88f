// What `run` would drop without a word is refused, in each way of running a VM.
#include "launcher/cli/run_ways.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <fstream>
#include <nlohmann/json.hpp>
#include <thread>

#include "launcher/cli/options_parts.h"
#include "tests/launcher/cli/command_line.h"
#include "tests/support/temp_dir.h"

namespace layerboot::launcher {
namespace {

TEST(RunWays, TheTableHasEveryOptionOfRun) {
  CLI::App app;
  Options options;
  CommandSet commands(app, options);
  add_run_command(commands);
  std::size_t number = 0;
  for (const CLI::Option* option : app.get_subcommand("run")->get_options()) {
    if (option->get_lnames().empty() || option->get_lnames().front() == "help") continue;
    EXPECT_TRUE(is_in_table("--" + option->get_lnames().front())) << option->get_name();
    ++number;
  }
  EXPECT_GT(number, 40U);
  EXPECT_FALSE(is_in_table("--no-such"));
}

TEST(RunWays, TheVmsOfABuildRunWhatTheContainerfileSays) {
  for (const char* name : {"--name", "--detach", "--rm", "--env", "--user", "--entrypoint", "--ephemeral",
                           "--disk-image", "--no-initrd", "--platform", "--password"})
    EXPECT_FALSE(check_fits(RunWay::kBuild, {{.name = name, .values = {}}})) << name;
  for (const char* name :
       {"--memory", "--cpus", "--kernel", "--upper", "--volume", "--net", "--vfsd", "--disk", "--accel"})
    EXPECT_TRUE(check_fits(RunWay::kBuild, {{.name = name, .values = {}}})) << name;
}

TEST(RunWays, ASettingThatIsKeptHasAnOption) {
  const auto members = settings_to_json({});
  for (const auto& [member, value] : members.items()) {
    const std::string option = option_of_member(member);
    EXPECT_TRUE(option == "COMMAND" || is_in_table(option)) << member;
  }
}

TEST(RunWays, NothingThatIsInTheVmLayerIsDroppedOnSomebodyElsesDaemon) {
  const std::vector<std::vector<const char*>> dropped = {
      {"--password", "x"},  {"--binfmt", "arm64"}, {"--tmpfs", "/t"},   {"--add-host", "a:10.0.0.1"},
      {"--dns", "1.1.1.1"}, {"--autologin"},       {"--hostname", "a"}, {"--ephemeral"},
      {"--disk", "8G"},     {"--publish-all"},     {"--pull", "never"}, {"--mount", "type=tmpfs,target=/t"},
  };
  for (auto words : dropped) {
    words.insert(words.begin(), {"run", "--socket-path", "/s"});
    expect_misuse(words, "--socket-path: the root is made and served by that daemon");
  }
  const auto kept =
      parse({"run", "--socket-path", "/s",  "--cpus", "2",      "-p", "80",     "-v", "/a:/b", "-e",
             "A=1", "--swap",        "64M", "--rm",   "--name", "x",  "--vfsd", "/v", "--",    "true"});
  EXPECT_TRUE(kept.options) << kept.text;
}

TEST(RunWays, NothingThatGuestInitDoesIsDroppedWithoutIt) {
  const std::vector<std::vector<const char*>> dropped = {
      {"--password", "x"},   {"--binfmt", "arm64"}, {"--tmpfs", "/t"},     {"--swap", "64M"},
      {"-e", "A=1"},         {"-u", "www"},         {"-w", "/srv"},        {"--docker"},
      {"--entrypoint", "x"}, {"--boot", "command"}, {"--socket", "/a:/b"},
  };
  for (auto words : dropped) {
    words.insert(words.begin(), {"run", "debian:12", "--no-initrd"});
    expect_misuse(words, "leave --no-initrd out");
  }
  expect_misuse({"run", "--no-initrd", "debian:12", "sh", "-c", "exit 7"}, "leave --no-initrd out");
  EXPECT_TRUE(parse({"run", "--no-initrd", "debian:12"}).options);
  EXPECT_TRUE(parse({"run", "--no-initrd", "--boot", "init", "debian:12", "/sbin/init", "3"}).options);
}

TEST(RunWays, WhatTheConfigFileSaysIsNotDroppedEither) {
  const std::vector<const char*> words = {"layerboot", "run", "--socket-path", "/s"};
  const auto parsed = parse_command_line(static_cast<int>(words.size()), words.data(),
                                         {.path = "config.json", .text = R"({"run": {"dns": "1.1.1.1"}})"});
  EXPECT_FALSE(parsed.options);
  EXPECT_NE(parsed.text.find("--dns does not go with --socket-path"), std::string::npos) << parsed.text;
}

TEST(RunWays, ATimeoutOfNothingIsRefused) {
  expect_misuse({"run", "-d", "--wait-timeout", "5", "debian:12"}, "--wait-timeout is for --wait");
  EXPECT_EQ(parse({"run", "-d", "--wait", "--wait-timeout", "5", "debian:12"}).options->wait_seconds, 5U);
  EXPECT_EQ(parse({"run", "--docker", "--wait-timeout", "5"}).options->wait_seconds, 5U);
}

/// Standard input as long as it lives.
class InputIs {
 public:
  explicit InputIs(int fd) : saved_(::dup(STDIN_FILENO)) { ::dup2(fd, STDIN_FILENO); }
  ~InputIs() {
    ::dup2(saved_, STDIN_FILENO);
    ::close(saved_);
  }
  InputIs(const InputIs&) = delete;
  InputIs& operator=(const InputIs&) = delete;

 private:
  int saved_;
};

TEST(RunWays, SomebodyWhoLeftOutTheImageIsToldWhatIsWaitedFor) {
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  const InputIs input(ends[0]);
  std::thread person([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(1500));
    EXPECT_EQ(::write(ends[1], "web:1\n", 6), 6);
    ::close(ends[1]);
  });
  testing::internal::CaptureStderr();
  const auto parsed = parse({"run"});
  person.join();
  EXPECT_NE(testing::internal::GetCapturedStderr().find("on standard input"), std::string::npos);
  ASSERT_TRUE(parsed.options) << parsed.text;
  EXPECT_EQ(parsed.options->image, "web:1");
  ::close(ends[0]);
}

TEST(RunWays, WordsOfAPackageAreNotReadFromStandardInput) {
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  const InputIs input(ends[0]);
  // Nobody ever writes: a read would hang.
  const auto missing = parse_run_words({"--cpus", "2", "--hostname"}, "oci:/i:latest", {"sh"});
  EXPECT_FALSE(missing.options);
  EXPECT_NE(missing.text.find("--hostname"), std::string::npos) << missing.text;
  const auto whole = parse_run_words({"--cpus", "2"}, "oci:/i:latest", {"sh"});
  ASSERT_TRUE(whole.options) << whole.text;
  EXPECT_EQ(whole.options->image, "oci:/i:latest");
  ::close(ends[0]);
  ::close(ends[1]);
}

TEST(DroppedOptions, LogsOfTheLauncherAreAFile) {
  for (const char* dropped : {"-f", "-t", "--since=10m"})
    expect_misuse({"logs", "web", "--launcher", dropped}, "--launcher");
  EXPECT_TRUE(parse({"logs", "web", "--launcher", "-n", "5"}).options);
}

TEST(DroppedOptions, AProbeRunsNothing) {
  expect_misuse({"exec", "--probe", "web", "false"}, "--probe runs nothing");
  expect_misuse({"exec", "--probe", "web", "--", "false"}, "--probe runs nothing");
  for (const std::vector<const char*>& dropped : std::vector<std::vector<const char*>>{
           {"-i"}, {"-t"}, {"-d"}, {"-e", "A=1"}, {"-u", "www"}, {"-w", "/"}}) {
    std::vector<const char*> words = {"exec", "--probe"};
    words.insert(words.end(), dropped.begin(), dropped.end());
    words.push_back("web");
    expect_misuse(words, "--probe");
  }
  EXPECT_TRUE(parse({"exec", "--probe", "web"}).options);
}

TEST(DroppedOptions, AProgramThatIsLeftHasNoTerminal) {
  expect_misuse({"exec", "-d", "-t", "web", "sh"}, "--tty");
  expect_misuse({"exec", "-d", "-i", "web", "sh"}, "--interactive");
  EXPECT_TRUE(parse({"exec", "-d", "web", "sh"}).options);
}

TEST(DroppedOptions, AListIsWrittenInOneWay) {
  for (const char* command : {"ps", "images"}) {
    expect_misuse({command, "--json", "--format", "{{.Name}}"}, "--json");
    expect_misuse({command, "--names", "--format", "{{.Name}}"}, "--names");
    expect_misuse({command, "--json", "--names"}, "--json");
  }
  EXPECT_TRUE(parse({"images", "--json", "--tree"}).options);
  expect_misuse({"volume", "ls", "--json", "--names"}, "--json");
  expect_misuse({"volume", "rm", "--json", "v"}, "are for ls");
}

}  // namespace
}  // namespace layerboot::launcher
