#include "launcher/vm/tar_writer.h"

#include <gtest/gtest.h>

namespace layerboot::launcher {
namespace {

TEST(TarWriter, AnEmptyArchiveIsTwoBlocks) {
  TarWriter tar;
  EXPECT_EQ(tar.finish(), std::string(1024, '\0'));
}

TEST(TarWriter, PadsToBlocksAndSumsTheHeader) {
  TarWriter tar;
  ASSERT_TRUE(tar.add_file("a", std::string(513, 'x')));
  const std::string archive = tar.finish();
  ASSERT_EQ(archive.size(), 512U + 1024U + 1024U);
  unsigned sum = 0;
  for (std::size_t i = 0; i < 512; ++i) {
    const char c = i >= 148 && i < 156 ? ' ' : archive[i];
    sum += static_cast<unsigned char>(c);
  }
  EXPECT_EQ(std::stoul(archive.substr(148, 6), nullptr, 8), sum);
  EXPECT_EQ(archive.substr(257, 5), "ustar");
  EXPECT_EQ(archive.substr(124, 11), "00000001001");
}

TEST(TarWriter, RefusesWhatUstarCannotHold) {
  TarWriter tar;
  EXPECT_TRUE(tar.add_file(std::string(100, 'n'), ""));
  EXPECT_FALSE(tar.add_file(std::string(101, 'n'), ""));
  EXPECT_FALSE(tar.add_file("big", std::string((std::size_t{64} << 20U) + 1, 'x')));
}

}  // namespace
}  // namespace layerboot::launcher
