#include "oci-mount/overlay/survey.h"

#include <sys/resource.h>

#include "tests/oci-mount/overlay/small_image.h"

namespace layerboot::overlay {
namespace {

class SurveyTest : public PartsTest {
 protected:
  Result<Survey> survey(MemoryBudget* budget = nullptr, const LateFilesByInode* late = nullptr) {
    return survey_directory(parts->places.keeping(), root_fd(), parts->ledger.tariff(), budget, late);
  }
  static std::vector<std::string> ways(const Survey& survey) {
    std::vector<std::string> list;
    for (const auto& way : survey.moved_directories) list.push_back(str_cat(way.parent, " ", way.name));
    return list;
  }
};

TEST_F(SurveyTest, OfNothingIsNothing) {
  const auto found = survey();
  ASSERT_TRUE(found) << found.error().describe();
  EXPECT_EQ(found->usage.bytes, 0U);
  EXPECT_EQ(found->usage.inodes, 0U);
  EXPECT_TRUE(found->moved_directories.empty());
}

TEST_F(SurveyTest, CountsAFileWithManyNamesOnceAndWhiteoutsAsNoInodes) {
  make("d", S_IFDIR | 0755);
  make("d/one", S_IFREG | 0644);
  const auto before = survey();
  ASSERT_TRUE(before);
  EXPECT_EQ(before->usage.inodes, 2U);
  ASSERT_EQ(::linkat(root_fd(), "d/one", root_fd(), "two", 0), 0);
  ASSERT_EQ(::linkat(root_fd(), "d/one", root_fd(), "d/three", 0), 0);
  make_whiteout("gone");
  const auto found = survey();
  ASSERT_TRUE(found);
  EXPECT_EQ(found->usage.inodes, 2U);
}

TEST_F(SurveyTest, LeadsToEachMovedDirectoryByItsParents) {
  for (const char* path : {"a", "a/b", "a/b/moved", "a/b/moved/in", "a/other", "plain"}) {
    make(path, S_IFDIR | 0755);
  }
  mark("a/b/moved", marks().redirect, "/dir");
  mark("a/b/moved/in", marks().redirect, "/hard");
  const auto found = survey();
  ASSERT_TRUE(found);
  EXPECT_EQ(ways(*found), (std::vector<std::string>{"0 a", "1 b", "2 moved", "3 in"}));
}

TEST_F(SurveyTest, TellsOfTheFilesThatItIsAskedFor) {
  const auto asked = make("asked", S_IFREG | 0644);
  make("other", S_IFREG | 0644);
  const LateFilesByInode late{{asked.st_ino, {.kept_bytes = 4096}}, {asked.st_ino + 1'000'000, {}}};
  const auto before = survey();
  const auto found = survey(nullptr, &late);
  ASSERT_TRUE(found);
  ASSERT_EQ(found->late_files.size(), 1U);
  ASSERT_TRUE(found->late_files.contains(asked.st_ino));
  EXPECT_EQ(found->late_files.at(asked.st_ino).kept_bytes, 4096U);
  EXPECT_GE(found->usage.bytes, before->usage.bytes + 4096) << "with what the host keeps of it";
}

/// XFS takes it back at some time, and the budget is to be told then.
TEST_F(SurveyTest, TellsOfFilesThatTheHostHasAllocatedAheadFor) {
  const auto ino = make("ahead", S_IFREG | 0644).st_ino;
  make("sparse", S_IFREG | 0644);
  make("plain", S_IFREG | 0644);
  constexpr off_t kBytes = 64 << 10;
  for (const char* name : {"ahead", "sparse", "plain"}) {
    const UniqueFd fd = *open_regular_at({root_fd(), name});
    ASSERT_EQ(::fallocate(fd.get(), 0, 0, kBytes), 0);
  }
  ASSERT_EQ(::truncate(on_host("sparse").c_str(), 16 * kBytes), 0);
  const UniqueFd ahead = *open_regular_at({root_fd(), "ahead"});
  ASSERT_EQ(::fallocate(ahead.get(), FALLOC_FL_KEEP_SIZE, kBytes, kBytes), 0);
  const LateFilesByInode none;
  const auto on = [&](HostKind kind) {
    return survey_directory(parts->places.keeping(), root_fd(), Tariff(kind), &memory, &none);
  };
  const auto found = on(HostKind::kXfs);
  ASSERT_TRUE(found);
  ASSERT_EQ(found->late_files.size(), 1U);
  ASSERT_TRUE(found->late_files.contains(ino));
  EXPECT_EQ(found->late_files.at(ino).later, Later::kShrinks);
  EXPECT_GE(found->late_files.at(ino).charged_bytes, 2U * kBytes);
  EXPECT_TRUE(on(HostKind::kExt4)->late_files.empty()) << "other hosts take nothing back";
}

TEST_F(SurveyTest, AnyDepthTakesOneDescriptor) {
  constexpr int kDepth = 3000;
  UniqueFd at(::dup(root_fd()));
  for (int level = 0; level < kDepth; ++level) {
    ASSERT_EQ(::mkdirat(at.get(), "d", 0755), 0);
    at = UniqueFd(::openat(at.get(), "d", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    ASSERT_TRUE(at);
  }
  at.reset();
  struct rlimit limit{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &limit), 0);
  const struct rlimit few{.rlim_cur = 64, .rlim_max = limit.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &few), 0);
  const auto found = survey();
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &limit), 0);
  ASSERT_TRUE(found) << found.error().describe();
  EXPECT_EQ(found->usage.inodes, static_cast<std::uint64_t>(kDepth));
}

TEST_F(SurveyTest, PaysForItsListAndIsRefusedAtTheLimit) {
  make("moved", S_IFDIR | 0755);
  mark("moved", marks().redirect, "/dir");
  const auto before = memory.used_bytes();
  {
    const auto found = survey(&memory);
    ASSERT_TRUE(found);
    EXPECT_GT(memory.used_bytes(), before);
  }
  EXPECT_EQ(memory.used_bytes(), before);
  take_all_memory();
  const auto refused = survey(&memory);
  give_memory_back();
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ENOMEM);
  EXPECT_EQ(memory.used_bytes(), before);
}

}  // namespace
}  // namespace layerboot::overlay
