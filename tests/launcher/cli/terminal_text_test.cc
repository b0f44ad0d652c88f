#include "launcher/cli/terminal_text.h"

#include <gtest/gtest.h>

namespace layerboot::launcher {
namespace {

/// In pieces of `piece_bytes`.
std::string shown(std::string_view text, std::size_t piece_bytes) {
  TerminalText terminal;
  std::string out;
  for (; !text.empty(); text.remove_prefix(std::min(piece_bytes, text.size())))
    out += terminal.take(text.substr(0, piece_bytes));
  return out + terminal.finish();
}

void expect_shown(std::string_view text, std::string_view expected) {
  for (const std::size_t piece_bytes : {text.size() + 1, std::size_t{1}, std::size_t{2}, std::size_t{3}})
    EXPECT_EQ(shown(text, piece_bytes), expected) << "in pieces of " << piece_bytes;
}

TEST(TerminalText, TextAndColoursAreAsTheyWere) {
  expect_shown("a\tb\\ \xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80\n",
               "a\tb\\ \xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80\n");
  expect_shown("\x1b[0;1;31mred\x1b[0m \x1b[mplain", "\x1b[0;1;31mred\x1b[0m \x1b[mplain");
  expect_shown("", "");
}

TEST(TerminalText, ALinesEndIsALineFeed) {
  expect_shown("a\r\nb\r\r\n", "a\nb\n");
  expect_shown("a\r", "a\\015");
}

TEST(TerminalText, WhatSetsAnythingOrMovesTheCursorIsEscaped) {
  expect_shown("\x1b]52;c;ZXZpbA==\a", "\\033]52;c;ZXZpbA==\\007");
  expect_shown("\x1b]0;title\x1b\\", "\\033]0;title\\033\\");
  expect_shown(
      "\x1b[2J\x1b[1;1H\x1b[>4;2m\x1b"
      "c",
      "\\033[2J\\033[1;1H\\033[>4;2m\\033c");
  expect_shown("guest\rlayerboot: error: x\b\v\f\n", "guest\\015layerboot: error: x\\010\\013\\014\n");
  expect_shown(
      "\xc2\x9b"
      "31m\x9b",
      "\\302\\23331m\\233");
  expect_shown("\x1b\x1b[31m\x1b[m", "\\033\x1b[31m\x1b[m");
}

TEST(TerminalText, WhatHasNoEndIsShownAtTheEnd) {
  expect_shown("a\x1b[31", "a\\033[31");
  expect_shown("a\x1b", "a\\033");
  expect_shown("a\xe2\x82", "a\\342\\202");
  expect_shown("\xe2\x82\n", "\\342\\202\n");
}

TEST(TerminalText, AColourEndsWithTheLog) { expect_shown("\x1b[8mhidden", "\x1b[8mhidden\x1b[0m"); }

TEST(TerminalText, KeepsLittleOfWhatHasNoEnd) {
  for (const std::string& endless : {std::string(10'000, '\r'), "\x1b[" + std::string(10'000, '1')}) {
    TerminalText terminal;
    std::size_t size_bytes = 0;
    for (const char c : endless) size_bytes += terminal.take({&c, 1}).size();
    EXPECT_GT(size_bytes, 9'900U);
  }
}

}  // namespace
}  // namespace layerboot::launcher
