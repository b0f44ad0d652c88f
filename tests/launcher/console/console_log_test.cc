#include "launcher/console/console_log.h"
#include "launcher/host/log_bound.h"

#include <gtest/gtest.h>

#include "tests/launcher/scratch_dir.h"

namespace layerboot::launcher {
namespace {

TEST(ConsoleLog, KeepsTheLatestWithinItsBound) {
  const ScratchDir scratch;
  const auto path = scratch.path() / "console.log";
  auto log = ConsoleLog::create(path, 10);
  ASSERT_TRUE(log) << log.error().describe();
  log->append("0123456", 100);
  EXPECT_EQ(log->size_bytes(), 7U);
  log->append("", 101);
  EXPECT_EQ(scratch.read("console.log.times"), "0 100\n");
  log->append("789abcdefghijkl", 107);
  EXPECT_EQ(scratch.read("console.log.1"), "abcdefghij");
  EXPECT_EQ(scratch.read("console.log"), "kl");
  EXPECT_EQ(log->size_bytes(), 2U);
  EXPECT_EQ(scratch.read("console.log.1.times"), "0 107\n");
  EXPECT_EQ(scratch.read("console.log.times"), "0 107\n");
  EXPECT_EQ(std::filesystem::status(path).permissions(),
            std::filesystem::perms::owner_read | std::filesystem::perms::owner_write);
}

TEST(ConsoleLog, BeginsAnew) {
  const ScratchDir scratch;
  const auto path = scratch.path() / "console.log";
  std::ofstream(path) << "old";
  std::ofstream(older_log(path)) << "older";
  ASSERT_TRUE(ConsoleLog::create(path));
  EXPECT_EQ(scratch.read("console.log"), "");
  EXPECT_FALSE(std::filesystem::exists(older_log(path)));
}

TEST(ConsoleLog, IsNotLedAstrayByASymlink) {
  const ScratchDir scratch;
  std::ofstream(scratch.path() / "victim") << "precious";
  std::filesystem::create_symlink("victim", scratch.path() / "console.log");
  EXPECT_FALSE(ConsoleLog::create(scratch.path() / "console.log"));
  EXPECT_EQ(scratch.read("victim"), "precious");
}

}  // namespace
}  // namespace layerboot::launcher
