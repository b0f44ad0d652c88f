#include "launcher/agent/guest_words.h"

#include <gtest/gtest.h>

#include <string>

namespace layerboot::launcher {
namespace {

TEST(GuestWords, AreOneLineThatSaysWhose) {
  EXPECT_EQ(guest_words("no sh\n"), "the VM says: no sh");
  EXPECT_EQ(guest_words("x\nlayerboot: error: y\r\x1b[2J\tz"),
            "the VM says: x\\012layerboot: error: y\\015\\033[2J z");
  EXPECT_EQ(guest_words(""), "the VM says: ");
}

TEST(GuestWords, AreBoundedAndStayAsTheyAre) {
  for (const std::string& text :
       {std::string(100'000, 'a'), std::string(100'000, '\n') + "b", std::string(100'000, '\x01'),
        "é" + std::string(1022, 'a') + "é", std::string("a\\b\nc")}) {
    const std::string once = guest_words(text);
    EXPECT_LE(once.size(), 2 * kMaxGuestWordsBytes);
    EXPECT_EQ(one_line(once), once);
    EXPECT_EQ(once.find('\n'), std::string::npos);
  }
}

TEST(GuestWords, OfSeveralLinesEachIsMarked) {
  EXPECT_EQ(guest_lines("one\r\n\n two\nthree"), "the VM says: one\nthe VM says:  two\nthe VM says: three");
  EXPECT_EQ(guest_lines("\n\r\n"), "");
  std::string many;
  for (int i = 0; i < 1000; ++i) many += "line\n";
  EXPECT_LE(guest_lines(many).size(), kMaxGuestLines * (kGuestSays.size() + 5));
}

}  // namespace
}  // namespace layerboot::launcher
