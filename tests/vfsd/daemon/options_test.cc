#include "vfsd/daemon/options.h"

#include <gtest/gtest.h>

namespace layerboot::vfsd {
namespace {

/// `said`, if any, gets what was printed to standard error.
ParsedOptions parse(std::initializer_list<const char*> arguments, std::string* said = nullptr) {
  std::vector<const char*> argv{"vfsd"};
  argv.insert(argv.end(), arguments.begin(), arguments.end());
  testing::internal::CaptureStderr();
  testing::internal::CaptureStdout();
  auto parsed = parse_options(static_cast<int>(argv.size()), argv.data());
  testing::internal::GetCapturedStdout();
  const std::string errors = testing::internal::GetCapturedStderr();
  if (said != nullptr) *said = errors;
  return parsed;
}

TEST(ParseOptions, TakesWhatTheLauncherGives) {
  const auto parsed = parse({"--socket-path", "/tmp/s", "--image", "oci:dir:tag", "--upper", "/tmp/u",
                             "--quota", "4G", "--add-layer", "/tmp/a.tar", "--add-layer", "/tmp/b.tar",
                             "--ready-fd", "5", "--once", "--request-queues", "2"});
  ASSERT_FALSE(parsed.exit_code);
  EXPECT_EQ(parsed.options.quota_bytes, 4ULL << 30);
  EXPECT_EQ(parsed.options.add_layers.size(), 2U);
  EXPECT_EQ(parsed.options.ready_fd, 5);
  EXPECT_EQ(parsed.options.request_queues, 2U);
  EXPECT_TRUE(parsed.options.once);
}

TEST(ParseOptions, IsShutInUnlessTold) {
  const auto plain = parse({"--fd", "3", "--image", "x", "--read-only"});
  EXPECT_EQ(plain.options.sandbox, SandboxMode::kAuto);
  EXPECT_EQ(plain.options.seccomp, kDefaultSeccomp);
  const auto open =
      parse({"--fd", "3", "--image", "x", "--read-only", "--sandbox", "none", "--seccomp", "log"});
  ASSERT_FALSE(open.exit_code);
  EXPECT_EQ(open.options.sandbox, SandboxMode::kNone);
  EXPECT_EQ(open.options.seccomp, SeccompMode::kLog);
}

TEST(ParseOptions, AWrongWordIsToldTheRightOnes) {
  const auto said = [](const char* option, const char* word) {
    std::string text;
    EXPECT_EQ(parse({"--fd", "3", "--image", "x", "--read-only", option, word}, &text).exit_code, 2);
    return text;
  };
  EXPECT_EQ(said("--sandbox", "maybe"),
            "vfsd: --sandbox: maybe not in {auto,namespace,none}; see vfsd --help\n");
  EXPECT_EQ(said("--seccomp", "5"), "vfsd: --seccomp: 5 not in {kill,log,none}; see vfsd --help\n");
  EXPECT_EQ(said("--io-engine", "aio"),
            "vfsd: --io-engine: aio not in {auto,epoll,uring}; see vfsd --help\n");
}

TEST(ParseOptions, TheEngineIsTriedUnlessToldOrSetInTheEnvironment) {
  ::unsetenv(kIoEngineVariable);
  const auto unless_told = [] {
    return parse({"--fd", "3", "--image", "x", "--read-only"}).options.io_engine;
  };
  const auto told = [](const char* name) {
    return parse({"--fd", "3", "--image", "x", "--read-only", "--io-engine", name}).options.io_engine;
  };
  EXPECT_EQ(unless_told(), IoEngine::kAuto);
  EXPECT_EQ(told("uring"), IoEngine::kUring);
  EXPECT_EQ(told("epoll"), IoEngine::kEpoll);
  EXPECT_EQ(parse({"--fd", "3", "--image", "x", "--read-only", "--io-engine", "aio"}).exit_code, 2);
  ::setenv(kIoEngineVariable, "epoll", 1);
  EXPECT_EQ(unless_told(), IoEngine::kEpoll);
  EXPECT_EQ(told("uring"), IoEngine::kUring);
  ::unsetenv(kIoEngineVariable);
}

TEST(ParseOptions, OneNumberForMemory) {
  EXPECT_EQ(parse({"--fd", "3", "--image", "x", "--read-only"}).options.memory_limit_bytes,
            MemoryBudget::kDefaultLimitBytes);
  EXPECT_EQ(parse({"--fd", "3", "--image", "x", "--read-only", "--memory-limit", "256M"})
                .options.memory_limit_bytes,
            256U << 20);
  EXPECT_EQ(parse({"--fd", "3", "--image", "x", "--read-only", "--memory-limit", "little"}).exit_code, 2);
}

TEST(ParseOptions, UsageErrorsAreTwo) {
  EXPECT_EQ(parse({}).exit_code, 2);
  EXPECT_EQ(parse({"--nonsense"}).exit_code, 2);
  EXPECT_EQ(parse({"--socket-path", "/tmp/s", "--image", "x", "--upper", "u", "--quota", "lots"}).exit_code,
            2);
  EXPECT_EQ(parse({"--socket-path", "/tmp/s", "--image", "x", "--upper", "u"}).exit_code, 2) << "no quota";
  EXPECT_EQ(parse({"--socket-path", "/tmp/s", "--image", "x", "--upper", "u", "--quota", "0"}).exit_code, 2)
      << "a guest that may write nothing";
  EXPECT_EQ(parse({"--socket-path", "/tmp/s", "--fd", "3", "--image", "x", "--read-only"}).exit_code, 2);
  EXPECT_EQ(parse({"--fd", "3", "--image", "x", "--read-only", "--request-queues", "17"}).exit_code, 2);
  EXPECT_EQ(parse({"--help"}).exit_code, 0);
  EXPECT_EQ(parse({"--version"}).exit_code, 0);
  EXPECT_FALSE(parse({"--fd", "3", "--image", "x", "--read-only"}).exit_code);
  EXPECT_FALSE(parse({"--fd", "3", "--share", "x"}).exit_code);
  EXPECT_EQ(parse({"--fd", "3", "--share", "x", "--writeback"}).exit_code, 2);
  EXPECT_EQ(parse({"--fd", "3", "--share", "x", "--quota", "1G"}).exit_code, 2);
  EXPECT_EQ(parse({"--fd", "3", "--share", "x", "--idmap", "1000:1001"}).options.ids,
            *parse_id_map("1000:1001"));
  EXPECT_EQ(parse({"--fd", "3", "--share", "x", "--idmap", "me"}).exit_code, 2);
  EXPECT_EQ(parse({"--fd", "3", "--image", "oci:x", "--read-only", "--idmap", "1000:1001"}).exit_code, 2);
}

}  // namespace
}  // namespace layerboot::vfsd
