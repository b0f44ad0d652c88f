#include "oci-mount/mount/options.h"

#include <gtest/gtest.h>

namespace layerboot::mount {
namespace {

ParsedOptions parse(std::vector<const char*> words) {
  words.insert(words.begin(), "oci-mount");
  return parse_options(static_cast<int>(words.size()), words.data());
}

TEST(MountOptions, Mount) {
  const auto parsed =
      parse({"mount", "oci:/i:t", "/m", "--upper", "/u", "--quota", "512M", "-f", "--allow-other"});
  ASSERT_FALSE(parsed.leave) << parsed.text;
  const auto& mount = std::get<MountCommand>(parsed.options.command);
  EXPECT_EQ(mount.image, "oci:/i:t");
  EXPECT_EQ(mount.mountpoint, "/m");
  EXPECT_EQ(mount.upper, "/u");
  EXPECT_EQ(mount.quota_bytes, 512ULL << 20);
  EXPECT_TRUE(mount.foreground);
  EXPECT_TRUE(mount.allow_other);
}

TEST(MountOptions, MountIsReadOnlyAndInTheBackgroundUnlessSaid) {
  const auto parsed = parse({"mount", "i", "/m"});
  ASSERT_FALSE(parsed.leave) << parsed.text;
  const auto& mount = std::get<MountCommand>(parsed.options.command);
  EXPECT_TRUE(mount.upper.empty());
  EXPECT_FALSE(mount.foreground);
}

TEST(MountOptions, TheEngineIsTriedUnlessToldOrSetInTheEnvironment) {
  ::unsetenv(kIoEngineVariable);
  EXPECT_EQ(parse({"cat", "i", "a"}).options.io_engine, IoEngine::kAuto);
  EXPECT_EQ(parse({"--io-engine", "epoll", "cat", "i", "a"}).options.io_engine, IoEngine::kEpoll);
  EXPECT_EQ(parse({"mount", "i", "/m", "--io-engine", "uring"}).options.io_engine, IoEngine::kUring);
  EXPECT_EQ(parse({"cat", "i", "a", "--io-engine", "aio"}).exit_code, 2);
  ::setenv(kIoEngineVariable, "epoll", 1);
  EXPECT_EQ(parse({"cat", "i", "a"}).options.io_engine, IoEngine::kEpoll);
  ::unsetenv(kIoEngineVariable);
}

TEST(MountOptions, ListAndCat) {
  const auto list = parse(
      {"ls", "-lR", "i", "/etc", "--index-dir", "/x", "--add-layer", "/one.tar", "--add-layer", "/two.tar"});
  ASSERT_FALSE(list.leave) << list.text;
  EXPECT_TRUE(std::get<ListCommand>(list.options.command).recursive);
  EXPECT_TRUE(std::get<ListCommand>(list.options.command).details);
  EXPECT_EQ(std::get<ListCommand>(list.options.command).path, "/etc");
  EXPECT_EQ(list.options.index_dir, "/x");
  EXPECT_EQ(list.options.add_layers.size(), 2U);
  const auto cat = parse({"cat", "i", "a", "b"});
  ASSERT_FALSE(cat.leave) << cat.text;
  EXPECT_EQ(std::get<CatCommand>(cat.options.command).paths, (std::vector<std::string>{"a", "b"}));
}

TEST(MountOptions, ALayer) {
  const auto parsed =
      parse({"diff", "--layer", "--compression", "zstd", "-o", "file", "--squash", "image", "upper"});
  ASSERT_FALSE(parsed.leave) << parsed.text;
  const auto& diff = std::get<DiffCommand>(parsed.options.command);
  EXPECT_TRUE(diff.layer);
  EXPECT_TRUE(diff.squash);
  EXPECT_FALSE(diff.keep_identity);
  EXPECT_EQ(diff.compression, store::Compression::kZstd);
  EXPECT_EQ(diff.output, "file");
  EXPECT_EQ(parse({"diff", "--squash", "image", "upper"}).exit_code, 2) << "of a layer alone";
  EXPECT_EQ(parse({"diff", "--layer", "--compression", "xz", "image", "upper"}).exit_code, 2);
}

TEST(MountOptions, WhatIsWrongIsSaidWithExitCodeTwo) {
  for (const std::vector<const char*>& words :
       std::vector<std::vector<const char*>>{{},
                                             {"nonsense"},
                                             {"mount", "i"},
                                             {"cat", "i"},
                                             {"ls", "--no-such"},
                                             {"mount", "i", "/m", "--quota", "1G"},
                                             {"mount", "i", "/m", "--upper", "u", "--quota", "0"},
                                             {"mount", "i", "/m", "--upper", "u", "--quota", "lots"}}) {
    const auto parsed = parse(words);
    EXPECT_TRUE(parsed.leave);
    EXPECT_EQ(parsed.exit_code, 2);
    EXPECT_FALSE(parsed.text.empty());
  }
}

TEST(MountOptions, HelpAndVersionAreNoErrors) {
  EXPECT_EQ(parse({"--help"}).exit_code, 0);
  EXPECT_NE(parse({"mount", "--help"}).text.find("MOUNTPOINT"), std::string::npos);
  EXPECT_NE(parse({"--version"}).text.find(LAYERBOOT_VERSION), std::string::npos);
}

}  // namespace
}  // namespace layerboot::mount
