#include "launcher/cli/config_file.h"

#include <gtest/gtest.h>

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

}  // namespace
}  // namespace layerboot::launcher
