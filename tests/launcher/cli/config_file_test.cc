#include "launcher/cli/config_file.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <vector>

#include "launcher/cli/options.h"

namespace layerboot::launcher {
namespace {

ParsedCommandLine parse(std::vector<const char*> arguments, const std::string& config) {
  arguments.insert(arguments.begin(), "layerboot");
  return parse_command_line(static_cast<int>(arguments.size()), arguments.data(),
                            {.path = "/etc/config.json", .text = config});
}

void expect_refused(const std::string& config, const std::string& about) {
  const auto parsed = parse({"run", "debian:12"}, config);
  EXPECT_FALSE(parsed.options) << config;
  EXPECT_EQ(parsed.exit_code, kExitUsage);
  EXPECT_NE(parsed.text.find("/etc/config.json"), std::string::npos) << parsed.text;
  EXPECT_NE(parsed.text.find(about), std::string::npos) << parsed.text;
}

constexpr const char* kConfig = R"({
  "run": {"memory": "2G", "cpus": 3, "detach": true, "rm": false, "env": ["A=1", "B=2"], "net": "passt"},
  "exec": {"user": "web"}})";

TEST(ConfigFile, GivesWhatTheCommandLineLeavesOut) {
  const auto parsed = parse({"run", "debian:12"}, kConfig);
  ASSERT_TRUE(parsed.options) << parsed.text;
  EXPECT_EQ(parsed.options->memory_bytes, std::uint64_t{2} << 30U);
  EXPECT_EQ(parsed.options->cpus, 3U);
  EXPECT_TRUE(parsed.options->detach);
  EXPECT_FALSE(parsed.options->remove_at_end);
  EXPECT_EQ(parsed.options->environment, (std::vector<std::string>{"A=1", "B=2"}));
  EXPECT_EQ(parsed.options->net, Net::kPasst);
  EXPECT_EQ(parsed.options->user, "") << "exec's";
  EXPECT_EQ(parse({"exec", "vm"}, kConfig).options->user, "web");
}

TEST(ConfigFile, WhatIsTypedCounts) {
  const auto parsed = parse({"run", "-m", "512m", "--net", "none", "-e", "C=3", "debian:12", "sh"}, kConfig);
  ASSERT_TRUE(parsed.options) << parsed.text;
  EXPECT_EQ(parsed.options->memory_bytes, 512U << 20U);
  EXPECT_EQ(parsed.options->net, Net::kNone);
  EXPECT_EQ(parsed.options->environment, std::vector<std::string>{"C=3"});
  EXPECT_EQ(parsed.options->guest_command, std::vector<std::string>{"sh"});
}

TEST(ConfigFile, WhatIsWrongIsNamed) {
  expect_refused("{", "not JSON");
  expect_refused("[]", "not a JSON object");
  expect_refused(R"({"runn": {}})", "did you mean run?");
  expect_refused(R"({"run": 1})", "run");
  expect_refused(R"({"run": {"memroy": "1G"}})", "did you mean memory?");
  expect_refused(R"({"run": {"memory": {}}})", "memory");
  expect_refused(R"({"run": {"detach": "yes"}})", "flag");
  const auto refused = parse({"run", "debian:12"}, R"({"run": {"memory": "4X"}})");
  EXPECT_FALSE(refused.options);
  EXPECT_NE(refused.text.find("4X"), std::string::npos) << refused.text;
  // Of a command that is not run.
  EXPECT_TRUE(parse({"ps"}, R"({"run": {"memory": "4X"}})").options);
}

TEST(ConfigFile, WhatIsTypedCountsBeforeWhatItExcludes) {
  const auto ps = parse({"ps", "--format", "{{.Name}}"}, R"({"ps": {"json": true}})");
  ASSERT_TRUE(ps.options) << ps.text;
  EXPECT_EQ(ps.options->format, "{{.Name}}");
  EXPECT_FALSE(ps.options->json);
  const auto run = parse({"run", "--socket-path", "/s"}, R"({"run": {"disk-image": true}})");
  ASSERT_TRUE(run.options) << run.text;
  EXPECT_FALSE(run.options->disk_root);
  EXPECT_EQ(run.options->socket_path, "/s");
  expect_refused(R"({"run": {"disk-image": true, "upper": "ram"}})", "exclude each other");
}

TEST(ConfigFile, WhatNeedsAnotherCountsWithIt) {
  const char* config = R"({"run": {"disk-format": "raw"}})";
  EXPECT_NE(parse({"run", "i"}, config).options->disk_format, DiskFormat::kRaw);
  EXPECT_EQ(parse({"run", "--disk-image", "i"}, config).options->disk_format, DiskFormat::kRaw);
  const auto both = parse({"run", "i"}, R"({"run": {"disk-format": "raw", "disk-image": true}})");
  EXPECT_EQ(both.options->disk_format, DiskFormat::kRaw);
  EXPECT_TRUE(both.options->disk_root);
}

TEST(ConfigFile, ATerminalIsForWhoHasOne) {
  const auto parsed = parse({"exec", "vm", "sh"}, R"({"exec": {"tty": true}})");
  ASSERT_TRUE(parsed.options) << parsed.text;
  EXPECT_EQ(parsed.options->terminal, ::isatty(STDIN_FILENO) != 0);
  EXPECT_TRUE(parse({"exec", "-t", "vm", "sh"}, "{}").options->terminal) << "was asked for";
}

TEST(ConfigFile, FalseIsAValue) {
  const char* config = R"({"run": {"tls-verify": false, "rm": false}})";
  const auto parsed = parse({"run", "i"}, config);
  ASSERT_TRUE(parsed.options) << parsed.text;
  EXPECT_FALSE(parsed.options->tls_verify);
  EXPECT_FALSE(was_given(*parsed.options, "--rm")) << "nobody wants it";
  EXPECT_TRUE(parse({"run", "--tls-verify", "i"}, config).options->tls_verify);
}

TEST(ConfigFile, AValueThatAnOptionRefusesIsToldWithItsFile) {
  expect_refused(R"({"run": {"memory": "4X"}})", "run: memory: ");
  expect_refused(R"({"run": {"cpus": 0}})", "cpus");
  expect_refused(R"({"run": {"net": "zz"}})", "zz");
}

}  // namespace
}  // namespace layerboot::launcher
