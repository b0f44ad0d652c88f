#include "launcher/supervise/ready_line.h"

#include <gtest/gtest.h>

namespace layerboot::launcher {
namespace {

TEST(ReadyLine, TellsHowLongTheImageWasOpen) {
  const auto line = parse_ready_line("ready indexes_open_us=1200 ready_us=1700");
  ASSERT_TRUE(line);
  EXPECT_EQ(line->since_indexes_open, std::chrono::microseconds(500));
}

TEST(ReadyLine, WordsThatAreNotKnownAreSkipped) {
  const auto line = parse_ready_line("ready ready_us=7 later=1 word indexes_open_us=7");
  ASSERT_TRUE(line);
  EXPECT_EQ(line->since_indexes_open, std::chrono::microseconds(0));
}

TEST(ReadyLine, WithoutTimesItIsOneAllTheSame) {
  for (const char* text :
       {"ready", "ready ready_us=5", "ready indexes_open_us=5", "ready indexes_open_us= ready_us=5",
        "ready indexes_open_us=-1 ready_us=5", "ready indexes_open_us=6 ready_us=5",
        "ready indexes_open_us=0 ready_us=99999999999999999999"}) {
    const auto line = parse_ready_line(text);
    ASSERT_TRUE(line) << text;
    EXPECT_FALSE(line->since_indexes_open) << text;
  }
}

TEST(ReadyLine, AnythingElseIsNone) {
  for (const char* text : {"", " ", "hello", "readyready", "ready_us=5", " ready", "Ready"})
    EXPECT_FALSE(parse_ready_line(text)) << text;
}

}  // namespace
}  // namespace layerboot::launcher
