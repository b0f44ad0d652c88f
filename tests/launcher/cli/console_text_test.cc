#include "launcher/cli/console_text.h"

#include <gtest/gtest.h>

namespace layerboot::launcher {
namespace {

std::vector<LogTime> times_of(std::string_view text) {
  std::vector<LogTime> times;
  read_log_times(text, 0, times);
  return times;
}

TEST(ConsoleText, ChoosesLinesFromTheEnd) {
  EXPECT_EQ(choose_log("a\nb\nc", {}, {.tail = 2, .since = {}}), "b\nc");
  EXPECT_EQ(choose_log("a\nb\n", {}, {.tail = 1, .since = {}}), "b\n");
  EXPECT_EQ(choose_log("a\nb\n", {}, {.tail = 0, .since = {}}), "");
  EXPECT_EQ(choose_log("a\nb\n", {}, {.tail = 9, .since = {}}), "a\nb\n");
  EXPECT_EQ(choose_log("", {}, {.tail = 1, .since = {}}), "");
}

TEST(ConsoleText, ChoosesLinesByTheirTime) {
  const auto times = times_of("0 1000000000\n2 1000000010\n4 1000000020\n");
  const std::string text = "a\nb\nc\n";
  EXPECT_EQ(choose_log(text, times, {.tail = {}, .since = 1'000'000'005}), "b\nc\n");
  EXPECT_EQ(choose_log(text, times, {.tail = 1, .since = 1'000'000'005}), "c\n");
  EXPECT_EQ(choose_log(text, times, {.tail = {}, .since = 1'000'000'021}), "");
  EXPECT_EQ(choose_log("ab\n", times, {.tail = {}, .since = {}, .timestamps = true}),
            "2001-09-09T01:46:40Z ab\n");
}

TEST(ConsoleText, DamagedTimesAreLeftOut) {
  std::vector<LogTime> times;
  read_log_times("0 5\nx\n-1 7\n9 y\n3", 0, times);
  read_log_times("0 6\n", 10, times);
  EXPECT_EQ(times, (std::vector<LogTime>{{0, 5}, {10, 6}}));
}

TEST(ConsoleText, TimesAreWrittenAsDockersAre) {
  EXPECT_EQ(*parse_since("90", 1000), 910);
  EXPECT_EQ(*parse_since("1h30m", 10'000), 10'000 - 5400);
  EXPECT_EQ(*parse_since("2d", 200'000), 200'000 - 172'800);
  EXPECT_EQ(*parse_since("1700000000", 0), 1'700'000'000);
  EXPECT_EQ(*parse_since("2001-09-09T01:46:40Z", 0), 1'000'000'000);
  EXPECT_EQ(*parse_since("2001-09-09", 0), 999'993'600);
  for (const char* text : {"", "yesterday", "10x", "m", "1h30", "99999999999d"}) {
    EXPECT_FALSE(parse_since(text, 0)) << text;
  }
}

}  // namespace
}  // namespace layerboot::launcher
