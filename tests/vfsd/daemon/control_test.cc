#include "vfsd/daemon/control.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/fuse.h>

#include <nlohmann/json.hpp>

#include "oci-mount/base/unique_fd.h"
#include "tests/support/temp_dir.h"

namespace layerboot::vfsd {
namespace {

class ControlTest : public testing::Test {
 protected:
  MemoryBudget memory_;

  ControlTarget target() {
    return {.quota = &quota_,
            .memory = &memory_,
            .inodes_follow_bytes = follow_,
            .add_counts =
                [](fuse::RequestCounts& sum) {
                  sum.add(FUSE_LOOKUP);
                  sum.add(FUSE_LOOKUP);
                },
            .has_front_end = [] { return true; }};
  }
  nlohmann::json ask(const std::string& line) {
    const std::string answer = answer_control(line, target());
    EXPECT_TRUE(answer.ends_with('\n'));
    EXPECT_EQ(answer.find('\n'), answer.size() - 1) << "one line";
    return nlohmann::json::parse(answer);
  }
  void expect_refused(const std::string& line, const std::string& why) {
    const auto answer = ask(line);
    EXPECT_FALSE(answer.at("ok").get<bool>()) << line;
    EXPECT_NE(answer.at("error").get<std::string>().find(why), std::string::npos) << answer;
    EXPECT_EQ(quota_.limits().bytes, 1U << 20);
    EXPECT_EQ(quota_.limits().inodes, 64U);
  }

  test::TempDir directory_;
  UniqueFd fd_{::open(directory_.path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
  overlay::Quota quota_{
      {.bytes = 1 << 20, .inodes = 64, .host_floor_bytes = 5}, {.bytes = 8192, .inodes = 2}, fd_.get()};
  bool follow_ = true;
};

TEST_F(ControlTest, TellsTheQuota) {
  const auto answer = ask(R"({"command": "quota"})");
  EXPECT_TRUE(answer.at("ok").get<bool>());
  EXPECT_EQ(answer.at("bytes"), 1 << 20);
  EXPECT_EQ(answer.at("inodes"), 64);
  EXPECT_EQ(answer.at("used_bytes"), 8192);
  EXPECT_EQ(answer.at("used_inodes"), 2);
  EXPECT_EQ(answer.at("available_bytes"), (1 << 20) - 8192);
  EXPECT_EQ(answer.at("available_inodes"), 62);
  EXPECT_EQ(answer.at("host_floor_bytes"), 5);
}

TEST_F(ControlTest, Resizes) {
  EXPECT_EQ(ask(R"({"command": "resize", "bytes": 4194304})").at("bytes"), 4 << 20);
  EXPECT_EQ(quota_.limits().bytes, 4U << 20);
  EXPECT_EQ(quota_.limits().inodes, 256U) << "one for each 16 KiB, as at the start";
  EXPECT_EQ(quota_.limits().host_floor_bytes, 5U);
  EXPECT_TRUE(ask(R"({"command": "resize", "inodes": 7})").at("ok").get<bool>());
  EXPECT_EQ(quota_.limits().inodes, 7U);
  EXPECT_EQ(quota_.limits().bytes, 4U << 20);
  follow_ = false;
  EXPECT_TRUE(ask(R"({"command": "resize", "bytes": 1048576})").at("ok").get<bool>());
  EXPECT_EQ(quota_.limits().inodes, 7U) << "asked for in so many words at the start";
}

TEST_F(ControlTest, TellsWhatWasServed) {
  const auto answer = ask(R"({"command": "stats"})");
  EXPECT_EQ(answer.at("requests").at("LOOKUP"), 2);
  EXPECT_EQ(answer.at("requests").size(), 1U);
  EXPECT_TRUE(answer.at("front_end").get<bool>());
  EXPECT_EQ(answer.at("quota").at("inodes"), 64);
}

TEST_F(ControlTest, TellsWhatTheDaemonTakes) {
  ASSERT_TRUE(memory_.take(1000));
  const auto most = memory_.used_bytes();
  memory_.give_back(1000);
  const auto answer = ask(R"({"command": "stats"})");
  EXPECT_EQ(answer.at("memory").at("limit_bytes"), MemoryBudget::kDefaultLimitBytes);
  EXPECT_EQ(answer.at("memory").at("used_bytes"), most - 1000);
  EXPECT_EQ(answer.at("memory").at("peak_bytes"), most);
}

TEST_F(ControlTest, RefusesWhatMakesNoSense) {
  expect_refused("", "request");
  expect_refused("resize", "request");
  expect_refused("[]", "request");
  expect_refused(R"({"command": 5})", "command");
  expect_refused(R"({"command": "grow"})", "quota, resize, stats");
  expect_refused(R"({"command": "resize"})", "bytes or inodes");
  expect_refused(R"({"command": "resize", "bytes": 0})", "must not be 0");
  expect_refused(R"({"command": "resize", "bytes": -1})", "bytes");
  expect_refused(R"({"command": "resize", "bytes": 1.5})", "bytes");
  expect_refused(R"({"command": "resize", "bytes": "1G"})", "bytes");
  expect_refused(R"({"command": "resize", "bytes": 99999999999999999999999})", "");
  expect_refused(R"({"command": "resize", "bytes": 5, "bytes": 6})", "");
  expect_refused(std::string(1000, '['), "request");
  expect_refused("{\"command\": \"\xff\xfe\"}", "");
}

TEST_F(ControlTest, ReadOnlyHasNoQuota) {
  auto read_only = target();
  read_only.quota = nullptr;
  for (const auto* line : {R"({"command": "quota"})", R"({"command": "resize", "bytes": 5})"}) {
    EXPECT_NE(answer_control(line, read_only).find("read-only"), std::string::npos);
  }
  EXPECT_NE(answer_control(R"({"command": "stats"})", read_only).find("\"ok\":true"), std::string::npos);
}

}  // namespace
}  // namespace layerboot::vfsd
