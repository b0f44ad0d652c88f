#include "launcher/host/log_bound.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>

#include "launcher/console/console_log.h"
#include "tests/launcher/scratch_dir.h"

namespace layerboot::launcher {
namespace {

TEST(LogBound, ALogThatOthersWriteToIsBegunAnewAndItsEndKept) {
  const ScratchDir scratch;
  const auto path = scratch.path() / "launcher.log";
  // As a daemon has it: a descriptor of its own, which appends.
  const UniqueFd writer(::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
  ASSERT_TRUE(writer);
  boost::asio::io_context io{1};
  constexpr std::uint64_t kMax = 1000;
  const auto bound = LogBound::watch(io, path, kMax);
  ASSERT_TRUE(bound) << bound.error().describe();
  const auto say = [&](const std::string& text) {
    ASSERT_EQ(::write(writer.get(), text.data(), text.size()), static_cast<ssize_t>(text.size()));
    while (io.poll_one() > 0) continue;
  };
  say(std::string(900, 'a'));
  EXPECT_EQ(std::filesystem::file_size(path), 900U);
  EXPECT_FALSE(std::filesystem::exists(older_log(path)));
  say(std::string(200, 'b') + "end");
  EXPECT_EQ(std::filesystem::file_size(path), 0U);
  const std::string kept = scratch.read("launcher.log.1");
  EXPECT_EQ(kept.size(), kMax);
  EXPECT_TRUE(kept.ends_with("bbbend"));
  say("anew");
  EXPECT_EQ(scratch.read("launcher.log"), "anew");
  for (int i = 0; i < 1000; ++i) say(std::string(100, 'c'));
  EXPECT_LE(std::filesystem::file_size(path), kMax);
  EXPECT_LE(std::filesystem::file_size(older_log(path)), kMax);
}

TEST(LogBound, ALogThatIsNotThereIsAnError) {
  const ScratchDir scratch;
  boost::asio::io_context io{1};
  EXPECT_FALSE(LogBound::watch(io, scratch.path() / "missing"));
}

}  // namespace
}  // namespace layerboot::launcher
