#include "launcher/kernel/cpio.h"

#include "launcher/host/run_tool.h"
#include "tests/launcher/kernel/scratch.h"

namespace layerboot::launcher {
namespace {

class Cpio : public ScratchTest {};

TEST_F(Cpio, TheHeaderIsNewc) {
  CpioWriter writer;
  ASSERT_TRUE(writer.add_file("ab", "xyz", 0755));
  const std::string archive = writer.finish();
  EXPECT_EQ(archive.substr(0, 6), "070701");
  EXPECT_EQ(archive.substr(6, 16), "00000001000081ED");             // inode 1, a regular file 0755
  EXPECT_EQ(archive.substr(54, 8), "00000003");                     // size
  EXPECT_EQ(archive.substr(94, 8), "00000003");                     // the name's length with its NUL
  EXPECT_EQ(archive.substr(110, 6), std::string("ab\0\0\0\0", 6));  // padded to a multiple of 4
  EXPECT_EQ(archive.substr(116, 4), std::string("xyz\0", 4));
  EXPECT_EQ(archive.size() % 4, 0U);
  EXPECT_NE(archive.find("TRAILER!!!"), std::string::npos);
}

TEST_F(Cpio, CpioUnpacksWhatWasPacked) {
  CpioWriter writer;
  ASSERT_TRUE(writer.add_directory("lib"));
  ASSERT_TRUE(writer.add_directory("lib/modules", 0700));
  ASSERT_TRUE(writer.add_file("lib/modules/one", "1", 0600));
  ASSERT_TRUE(writer.add_file("empty", ""));
  const std::string big(100'001, 'b');
  ASSERT_TRUE(writer.add_file("lib/big", big));
  write(scratch_ / "a.cpio", writer.finish());
  ToolSpec spec;
  spec.argv = {"cpio", "-i", "--quiet", "--no-absolute-filenames", "-F", (scratch_ / "a.cpio").string()};
  spec.working_directory = scratch_;
  const auto ran = run_tool(spec);
  if (!ran && ran.error().code == ENOENT) GTEST_SKIP() << "cpio is not installed";
  ASSERT_TRUE(ran) << ran.error().text;
  EXPECT_EQ(read(scratch_ / "lib/modules/one"), "1");
  EXPECT_EQ(read(scratch_ / "lib/big"), big);
  EXPECT_EQ(std::filesystem::file_size(scratch_ / "empty"), 0U);
  EXPECT_EQ(std::filesystem::status(scratch_ / "lib/modules").permissions(), std::filesystem::perms(0700));
}

TEST_F(Cpio, TheSameEntriesGiveTheSameBytes) {
  CpioWriter writer;
  std::string archives[2];
  for (auto& archive : archives) {
    ASSERT_TRUE(writer.add_directory("d"));
    ASSERT_TRUE(writer.add_file("d/f", "content"));
    archive = writer.finish();
  }
  EXPECT_EQ(archives[0], archives[1]);
}

TEST_F(Cpio, RefusesNamesThatAreNone) {
  CpioWriter writer;
  EXPECT_FALSE(writer.add_file("", "x"));
  EXPECT_FALSE(writer.add_file("/init", "x"));
  EXPECT_FALSE(writer.add_directory(std::string(5000, 'x')));
}

}  // namespace
}  // namespace layerboot::launcher
