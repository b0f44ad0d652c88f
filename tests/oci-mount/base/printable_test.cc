#include "oci-mount/base/printable.h"

#include <gtest/gtest.h>

namespace layerboot {
namespace {

TEST(Printable, EscapesWhatATerminalActsOn) {
  EXPECT_EQ(printable("a b\xc3\xa9"), "a b\xc3\xa9");
  EXPECT_EQ(printable("\x1b[2J\x7f\n"), "\\033[2J\\177\\012");
  EXPECT_EQ(printable("a\\b"), "a\\\\b");
  EXPECT_EQ(printable("\xc2\x9b"
                      "31m"),
            "\\302\\23331m")
      << "CSI as one character of C1";
  EXPECT_EQ(printable("\x9b"
                      "31m"),
            "\\23331m")
      << "and as a terminal without UTF-8 reads it";
}

TEST(Printable, JsonMeansTheSameAndCommandsNoTerminal) {
  EXPECT_EQ(printable_json("{\"a\":\"\x7f\xc2\x9b\xc2\xa0\xc3\xa9\\u001b\"}\n"),
            "{\"a\":\"\\u007f\\u009b\xc2\xa0\xc3\xa9\\u001b\"}\n");
  EXPECT_EQ(printable_json("\xc2"), "\xc2");
  EXPECT_EQ(printable_json(""), "");
}

TEST(Printable, EscapesWhatIsNoUtf8) {
  EXPECT_EQ(printable("\xff"), "\\377");
  EXPECT_EQ(printable("\xc3"), "\\303");
  EXPECT_EQ(printable("\xc0\xaf"), "\\300\\257") << "overlong";
  EXPECT_EQ(printable("\xed\xa0\x80"), "\\355\\240\\200") << "half a surrogate pair";
  EXPECT_EQ(printable("\xf4\x90\x80\x80"), "\\364\\220\\200\\200") << "beyond Unicode";
  EXPECT_EQ(printable("\xf0\x9f\x98\x80"), "\xf0\x9f\x98\x80");
}

TEST(Printable, CutsWhatIsLong) {
  EXPECT_EQ(printable(std::string(300, 'a')), std::string(kMaxShownBytes, 'a') + "…");
  EXPECT_EQ(printable_whole(std::string(300, 'a')), std::string(300, 'a'));
}

TEST(Printable, OfAMessageOnlyWhatIsNoLayout) {
  EXPECT_EQ(printable_lines("one\n\ttwo\x1b[31m \\012 \r"), "one\n\ttwo\\033[31m \\012 \\015");
}

}  // namespace
}  // namespace layerboot
