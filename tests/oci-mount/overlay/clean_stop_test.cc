#include "oci-mount/overlay/clean_stop.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>

#include "oci-mount/base/files.h"
#include "oci-mount/overlay/upper.h"
#include "tests/support/image_builder.h"
#include "tests/support/temp_dir.h"

namespace layerboot::overlay {
namespace {

namespace fs = std::filesystem;

class CleanStopTest : public testing::Test {
 protected:
  Upper open() {
    auto upper = Upper::open(directory(), "sha256:image");
    EXPECT_TRUE(upper) << upper.error().describe();
    return *std::move(upper);
  }
  /// A session that wrote something and ended in order.
  void session() {
    Upper upper = open();
    test::write_text(directory() / "upper/file", "x");
    const auto left = upper.leave_clean_stop(
        {.survey = {.usage = {.bytes = 4096, .inodes = 1},
                    .moved_directories = {{0, "a b"}, {1, "\nc"}, {0, ""}}},
         .lower_key = "key",
         .lost_names = {{.path = "/usr/bin/perl", .count = 2}, {.path = "/9", .count = 1}},
         .late_files = {
             {UINT64_MAX, {.charged_bytes = 8192}},
             {5, {.charged_bytes = 4096, .later = Later::kShrinks}},
             {6,
              {.charged_bytes = 12'288, .kept_bytes = 4096, .kept_from = 8192, .later = Later::kShrinks}}}});
    EXPECT_TRUE(left) << left.error().describe();
  }
  bool is_trusted() { return open().take_clean_stop().has_value(); }
  fs::path directory() const { return top_ / "vm"; }

  test::TempDir top_;
};

TEST_F(CleanStopTest, IsThereOnceForTheNextSession) {
  session();
  Upper upper = open();
  EXPECT_FALSE(fs::exists(directory() / "clean")) << "a crash from now on is none";
  const auto stop = upper.take_clean_stop();
  ASSERT_TRUE(stop);
  EXPECT_EQ(stop->survey.usage.bytes, 4096U);
  EXPECT_EQ(stop->survey.usage.inodes, 1U);
  ASSERT_EQ(stop->survey.moved_directories.size(), 3U);
  EXPECT_EQ(stop->survey.moved_directories[0].name, "a b");
  EXPECT_EQ(stop->survey.moved_directories[1].parent, 1U);
  EXPECT_EQ(stop->survey.moved_directories[1].name, "\nc");
  EXPECT_EQ(stop->survey.moved_directories[2].parent, 0U);
  EXPECT_EQ(stop->lower_key, "key");
  ASSERT_EQ(stop->lost_names.size(), 2U);
  EXPECT_EQ(stop->lost_names[0].path, "/usr/bin/perl");
  EXPECT_EQ(stop->lost_names[0].count, 2U);
  EXPECT_EQ(stop->lost_names[1].path, "/9");
  ASSERT_EQ(stop->late_files.size(), 3U);
  const auto late = [&stop](std::uint64_t ino) { return stop->late_files.at(ino); };
  EXPECT_EQ(late(UINT64_MAX).charged_bytes, 8192U);
  EXPECT_EQ(late(UINT64_MAX).later, Later::kGrows);
  EXPECT_EQ(late(5).charged_bytes, 4096U);
  EXPECT_EQ(late(5).kept_bytes, 0U);
  EXPECT_EQ(late(5).later, Later::kShrinks);
  EXPECT_EQ(late(6).charged_bytes, 12'288U);
  EXPECT_EQ(late(6).kept_bytes, 4096U);
  EXPECT_EQ(late(6).kept_from, 8192U);
  EXPECT_EQ(late(5).kept_from, UINT64_MAX);
  EXPECT_FALSE(upper.take_clean_stop());
}

TEST_F(CleanStopTest, OneThatDidNotEndInOrderHasNone) {
  session();
  open();
  EXPECT_FALSE(is_trusted());
}

TEST_F(CleanStopTest, ADirectoryBeforeItsParentIsNotBelieved) {
  CleanStop stop;
  stop.survey.moved_directories = {{1, "its own parent"}};
  ASSERT_TRUE(open().leave_clean_stop(stop));
  ASSERT_TRUE(fs::exists(directory() / "clean"));
  EXPECT_FALSE(is_trusted());
}

// As the kernel's overlayfs does when it is mounted on the upper.
TEST_F(CleanStopTest, ATouchedWorkDirectoryIsNoticed) {
  session();
  fs::create_directories(directory() / "work/work");
  EXPECT_FALSE(is_trusted());
  EXPECT_FALSE(fs::exists(directory() / "clean"));
  session();
  fs::create_directories(directory() / "work/work");
  fs::remove(directory() / "work/work");
  EXPECT_FALSE(is_trusted());
}

TEST_F(CleanStopTest, ATouchedTopIsNoticed) {
  session();
  test::write_text(directory() / "upper/more", "x");
  EXPECT_FALSE(is_trusted());
  session();
  ASSERT_EQ(::chmod((directory() / "upper").c_str(), 0755), 0);
  EXPECT_FALSE(is_trusted());
}

TEST_F(CleanStopTest, ACopyIsNoticed) {
  session();
  fs::copy(directory(), top_ / "copy", fs::copy_options::recursive);
  fs::remove_all(directory());
  fs::rename(top_ / "copy", directory());
  EXPECT_FALSE(is_trusted());
}

TEST_F(CleanStopTest, DamageIsNoticed) {
  session();
  const auto opened = [&](const char* name) {
    return *open_path(directory() / name, O_RDONLY | O_DIRECTORY);
  };
  const UniqueFd top = opened(".");
  const UniqueFd root = opened("upper");
  const UniqueFd work = opened("work");
  const auto is_read = [&](const std::string& text) {
    test::write_text(directory() / "clean", text);
    return read_clean_stop({.top_fd = top.get(), .root_fd = root.get(), .work_fd = work.get()}).has_value();
  };
  const std::string good = test::read_text(directory() / "clean");
  EXPECT_TRUE(is_read(good));
  for (std::size_t at = 0; at < good.size(); ++at) {
    std::string bad = good;
    bad[at] = static_cast<char>(bad[at] ^ 1);
    EXPECT_FALSE(is_read(bad)) << "byte " << at;
  }
  for (std::size_t bytes = 0; bytes < good.size(); ++bytes) EXPECT_FALSE(is_read(good.substr(0, bytes)));
  EXPECT_FALSE(is_read(good + "m"));
  EXPECT_FALSE(is_read(std::string(100, '\0')));
}

TEST_F(CleanStopTest, AnotherImagesUpperKeepsIt) {
  session();
  ASSERT_FALSE(Upper::open(directory(), "sha256:other"));
  EXPECT_TRUE(is_trusted());
}

TEST_F(CleanStopTest, OneThatIsTooLargeIsNotLeft) {
  Upper upper = open();
  CleanStop stop;
  stop.survey.moved_directories.assign(kMaxCleanStopBytes / 1000, {0, std::string(1000, 'x')});
  EXPECT_TRUE(upper.leave_clean_stop(stop));
  EXPECT_FALSE(fs::exists(directory() / "clean"));
  EXPECT_FALSE(fs::exists(directory() / "clean.new"));
}

/// But what the host keeps of files no count finds.
TEST_F(CleanStopTest, OfOneThatIsTooLargeWhatIsKeptIsLeft) {
  {
    Upper upper = open();
    CleanStop stop;
    stop.lower_key = "key";
    stop.forgotten_kept_bytes = 8192;
    stop.survey.moved_directories.assign(kMaxCleanStopBytes / 1000, {0, std::string(1000, 'x')});
    stop.late_files[5] = {.charged_bytes = 12'288, .kept_bytes = 4096, .later = Later::kShrinks};
    stop.late_files[6] = {.charged_bytes = 4096};
    EXPECT_TRUE(upper.leave_clean_stop(stop));
  }
  const auto stop = open().take_clean_stop();
  ASSERT_TRUE(stop);
  EXPECT_FALSE(stop->is_counted);
  EXPECT_EQ(stop->forgotten_kept_bytes, 8192U);
  ASSERT_EQ(stop->late_files.size(), 1U);
  EXPECT_EQ(stop->late_files.at(5).kept_bytes, 4096U);
  EXPECT_TRUE(stop->survey.moved_directories.empty());
}

TEST_F(CleanStopTest, WhatIsKeptOfForgottenFilesIsToldWithACount) {
  {
    Upper upper = open();
    CleanStop stop;
    stop.forgotten_kept_bytes = 4096;
    EXPECT_TRUE(upper.leave_clean_stop(stop));
  }
  const auto stop = open().take_clean_stop();
  ASSERT_TRUE(stop);
  EXPECT_TRUE(stop->is_counted);
  EXPECT_EQ(stop->forgotten_kept_bytes, 4096U);
}

TEST_F(CleanStopTest, OneThatIsNearlyTooLargeIsBelieved) {
  constexpr std::size_t kNameBytes = 1000;
  {
    Upper upper = open();
    CleanStop stop;
    stop.survey.moved_directories.assign(kMaxCleanStopBytes / (kNameBytes + 10),
                                         {0, std::string(kNameBytes, 'x')});
    EXPECT_TRUE(upper.leave_clean_stop(stop));
  }
  const auto stop = open().take_clean_stop();
  ASSERT_TRUE(stop);
  EXPECT_EQ(stop->survey.moved_directories.size(), kMaxCleanStopBytes / (kNameBytes + 10));
}

}  // namespace
}  // namespace layerboot::overlay
