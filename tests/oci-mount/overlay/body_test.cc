// What stands on the host for an object of the guest, in both ways that an upper is kept.
#include "oci-mount/overlay/body.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/fsuid.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <string>
#include <vector>

#include "oci-mount/base/device_number.h"
#include "oci-mount/base/files.h"
#include "tests/support/temp_dir.h"

namespace layerboot::overlay {
namespace {

constexpr const char* kRecord = "user.containers.override_stat";

class BodyTest : public testing::TestWithParam<Keeping> {
 protected:
  void SetUp() override {
    if (is_native() && ::geteuid() != 0) GTEST_SKIP() << "only root keeps owners natively";
  }
  [[nodiscard]] static bool is_native() { return GetParam() == Keeping::kNative; }
  [[nodiscard]] Place at(const char* name) const { return {fd_.get(), name}; }
  [[nodiscard]] struct stat host(const char* name) const {
    struct stat st{};
    EXPECT_EQ(::lstat((directory_ / name).c_str(), &st), 0) << name;
    return st;
  }
  [[nodiscard]] bool is_there(const char* name) const {
    return std::filesystem::exists(std::filesystem::symlink_status(directory_ / name));
  }
  Result<Body> make(const char* name, const Nature& nature, std::string_view target = {}) {
    UniqueFd prepared;
    if (is_target_data(GetParam(), target)) {
      LB_ASSIGN(prepared, prepare_target(at(name), target));
    }
    return make_body(GetParam(), Making::kElsewhere, at(name), nature, target, std::move(prepared));
  }
  [[nodiscard]] Nature nature_of(const char* name) const {
    const auto nature = nature_at(GetParam(), at(name), host(name));
    EXPECT_TRUE(nature) << nature.error().describe();
    return nature.value_or(Nature{});
  }

  test::TempDir directory_;
  UniqueFd fd_ = *open_path(directory_.path(), O_RDONLY | O_DIRECTORY);
};

TEST_P(BodyTest, OfEachTypeTellsWhatWasAskedFor) {
  const mode_t umask_before = ::umask(077);
  const std::vector<Nature> natures = {
      {.mode = S_IFREG | 04755, .uid = 1000, .gid = 1001, .rdev = 0},
      {.mode = S_IFREG | 0000, .uid = 0, .gid = 0, .rdev = 0},
      {.mode = S_IFDIR | 03775, .uid = 7, .gid = 8, .rdev = 0},
      {.mode = S_IFIFO | 0622, .uid = 7, .gid = 8, .rdev = 0},
      {.mode = S_IFSOCK | 0777, .uid = 7, .gid = 8, .rdev = 0},
      {.mode = S_IFCHR | 0620, .uid = 0, .gid = 5, .rdev = encode_dev(makedev(136, 3))},
      {.mode = S_IFBLK | 0660, .uid = 0, .gid = 6, .rdev = encode_dev(makedev(259, 300))},
      {.mode = S_IFCHR | 0600, .uid = 3, .gid = 4, .rdev = 0},  // as itself a whiteout of overlayfs
  };
  int number = 0;
  for (const Nature& nature : natures) {
    const std::string name = std::to_string(number++);
    const auto body = make(name.c_str(), nature);
    ASSERT_TRUE(body) << name << ": " << body.error().describe();
    EXPECT_EQ(nature_of(name.c_str()), nature) << name;
    EXPECT_EQ(static_cast<bool>(body->fd), S_ISREG(nature.mode)) << name;
    EXPECT_EQ(body->st.st_ino, host(name.c_str()).st_ino);
    EXPECT_EQ(body->st.st_mode, host(name.c_str()).st_mode) << "as it is in the end";
    EXPECT_FALSE(is_whiteout(host(name.c_str()))) << name;
  }
  ::umask(umask_before);
}

TEST_P(BodyTest, ASymlinkHasItsTarget) {
  const Nature nature{.mode = S_IFLNK | 0777, .uid = 9, .gid = 10, .rdev = 0};
  for (const std::size_t length : {1U, 1023U, 1024U, 1025U, 4095U}) {
    const std::string name = std::to_string(length);
    const std::string target(length, 't');
    const auto body = make(name.c_str(), nature, target);
    if (!body && body.error().code == ENAMETOOLONG) continue;  // the host's own limit (XFS)
    ASSERT_TRUE(body) << length << ": " << body.error().describe();
    EXPECT_EQ(link_target_at(GetParam(), at(name.c_str())).value_or("none"), target);
    EXPECT_EQ(nature_of(name.c_str()), nature);
    EXPECT_EQ(host(name.c_str()).st_size, static_cast<off_t>(length)) << "as lstat(2) tells";
  }
}

TEST_P(BodyTest, IsMadeUnderItsNameOnlyWhereNothingIsToFollow) {
  struct Case {
    Nature nature;
    MadeByHost host;
    Making making;  // natively
  };
  const MadeByHost plain{.has_nameless_files = true};
  const MadeByHost setgid{.hands_down_group = true, .has_nameless_files = true};
  const auto of = [](std::uint32_t mode, std::uint32_t uid = 0, std::uint32_t gid = 0) {
    return Nature{.mode = mode, .uid = uid, .gid = gid, .rdev = 0};
  };
  const Case cases[] = {
      {of(S_IFREG | 0644), plain, Making::kAtOnce},
      {of(S_IFCHR | 0644), plain, Making::kElsewhere},  // as itself it would be a whiteout
      {of(S_IFREG | 0644, 1000), plain, Making::kByLink},
      {of(S_IFREG | 0644, 1000), MadeByHost{}, Making::kElsewhere},
      {of(S_IFREG | 0644, 0, 1000), plain, Making::kByLink},
      {of(S_IFREG | 0644, 0, 1000), setgid, Making::kAtOnce},
      {of(S_IFREG | 04755), plain, Making::kByLink},
      {of(S_IFDIR | 0755, 1000), plain, Making::kElsewhere},
      {of(S_IFDIR | 01777), plain, Making::kAtOnce},
      {of(S_IFDIR | 02755), plain, Making::kElsewhere},
      {of(S_IFDIR | 02755, 0, 1000), setgid, Making::kAtOnce},
      {of(S_IFLNK | 0777, 1000), plain, Making::kElsewhere},
      {of(S_IFIFO | 0600), plain, Making::kAtOnce},
  };
  for (const Case& one : cases) {
    EXPECT_EQ(making_of(GetParam(), one.nature, one.host), is_native() ? one.making : Making::kElsewhere)
        << std::oct << one.nature.mode << ' ' << one.nature.uid << ' ' << one.nature.gid;
  }
}

TEST_P(BodyTest, GetsItsNameWhenItIsWhole) {
  if (!is_native()) GTEST_SKIP() << "a recorded one is made elsewhere";
  const mode_t umask_before = ::umask(077);
  const Nature nature{.mode = S_IFREG | 04664, .uid = 1000, .gid = 1001, .rdev = 0};
  const auto body = make_body(GetParam(), Making::kByLink, at("name"), nature, {});
  ASSERT_TRUE(body) << body.error().describe();
  EXPECT_EQ(nature_of("name"), nature);
  EXPECT_EQ(body->st.st_nlink, 1U);
  EXPECT_EQ(body->st.st_ino, host("name").st_ino);
  const auto again = make_body(GetParam(), Making::kByLink, at("name"), nature, {});
  ::umask(umask_before);
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().code, EEXIST);
}

TEST_P(BodyTest, LeavesAloneWhatIsThere) {
  const Nature first{.mode = S_IFREG | 0640, .uid = 1, .gid = 2, .rdev = 0};
  ASSERT_TRUE(make("name", first));
  for (const auto type : {std::uint32_t{S_IFREG}, std::uint32_t{S_IFDIR}, std::uint32_t{S_IFIFO}}) {
    const auto again = make("name", {.mode = type | 0777U, .uid = 3, .gid = 4, .rdev = 0});
    ASSERT_FALSE(again);
    EXPECT_EQ(again.error().code, EEXIST);
  }
  EXPECT_EQ(nature_of("name"), first);
}

/// A step after the first fails: the owner, or what keeps the target.
TEST_P(BodyTest, LeavesNothingWhereItFails) {
  if (is_native()) {
    ASSERT_EQ(::chmod(directory_.path().c_str(), 0777), 0);
    ::setfsuid(65534);  // with root's rights to files gone, too
    for (const auto type : {std::uint32_t{S_IFREG}, std::uint32_t{S_IFDIR}, std::uint32_t{S_IFIFO}}) {
      const auto made = make("name", {.mode = type | 0755U, .uid = 5, .gid = 5, .rdev = 0});
      ASSERT_FALSE(made);
      EXPECT_EQ(made.error().code, EPERM);
      EXPECT_FALSE(is_there("name")) << type;
    }
    ::setfsuid(0);
    return;
  }
  struct rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto handler = ::signal(SIGXFSZ, SIG_IGN);
  const struct rlimit small{.rlim_cur = 100, .rlim_max = before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  for (const std::size_t length : {500U, 3000U}) {  // as an attribute, and as data
    const auto made =
        make("name", {.mode = S_IFLNK | 0777, .uid = 0, .gid = 0, .rdev = 0}, std::string(length, 't'));
    EXPECT_FALSE(made) << length;
    EXPECT_FALSE(is_there("name")) << length;
  }
  ::setrlimit(RLIMIT_FSIZE, &before);
  ::signal(SIGXFSZ, handler);
}

TEST_P(BodyTest, AnotherOwnerDoesNotCostItsSetIdBits) {
  ASSERT_TRUE(make("name", {.mode = S_IFREG | 0755, .uid = 0, .gid = 0, .rdev = 0}));
  const Nature changed{.mode = S_IFREG | 06755, .uid = 1000, .gid = 1000, .rdev = 0};
  ASSERT_TRUE(set_nature_at(GetParam(), at("name"), changed));
  EXPECT_EQ(nature_of("name"), changed);
}

INSTANTIATE_TEST_SUITE_P(Keepings, BodyTest, testing::Values(Keeping::kNative, Keeping::kRecorded),
                         [](const auto& keeping) {
                           return keeping.param == Keeping::kNative ? "native" : "recorded";
                         });

class RecordedBodyTest : public BodyTest {};

TEST_P(RecordedBodyTest, ItsOwnerReachesEverything) {
  ASSERT_TRUE(make("file", {.mode = S_IFREG | 0000, .uid = 5, .gid = 5, .rdev = 0}));
  ASSERT_TRUE(make("dir", {.mode = S_IFDIR | 0000, .uid = 5, .gid = 5, .rdev = 0}));
  ASSERT_TRUE(make("pipe", {.mode = S_IFIFO | 0000, .uid = 5, .gid = 5, .rdev = 0}));
  EXPECT_EQ(host("file").st_mode, S_IFREG | 0600U);
  EXPECT_EQ(host("dir").st_mode, S_IFDIR | 0700U);
  EXPECT_EQ(host("pipe").st_mode, S_IFREG | 0600U);
}

TEST_P(RecordedBodyTest, WhatHasNoTrueRecordIsRootsAsItStands) {
  ASSERT_TRUE(create_regular_at(at("file"), 0640));
  ASSERT_EQ(::mkdirat(fd_.get(), "dir", 0750), 0);
  const Nature file{.mode = S_IFREG | 0640, .uid = 0, .gid = 0, .rdev = 0};
  EXPECT_EQ(nature_of("file"), file);
  for (const char* const bad : {"", "nonsense", "1:2:0755:dir"}) {
    ASSERT_TRUE(set_xattr_at(at("file"), kRecord, bad, 0));
    EXPECT_EQ(nature_of("file"), file) << bad;
  }
  ASSERT_TRUE(set_xattr_at(at("dir"), kRecord, "1:2:0755:file", 0));
  EXPECT_EQ(nature_of("dir"), (Nature{.mode = S_IFDIR | 0750, .uid = 0, .gid = 0, .rdev = 0}));
}

TEST_P(RecordedBodyTest, ASymlinkThatACutHasEmptiedIsMended) {
  ASSERT_TRUE(make("link", {.mode = S_IFLNK | 0777, .uid = 0, .gid = 0, .rdev = 0}, "target"));
  ASSERT_EQ(::truncate((directory_ / "link").c_str(), 0), 0);
  struct stat st = host("link");
  ASSERT_TRUE(mend_link_at(Keeping::kRecorded, at("link"), st));
  EXPECT_EQ(st.st_size, 6);
  EXPECT_EQ(host("link").st_size, 6);
  EXPECT_EQ(link_target_at(Keeping::kRecorded, at("link")).value_or("none"), "target");
  ASSERT_TRUE(make("empty", {.mode = S_IFREG | 0644, .uid = 0, .gid = 0, .rdev = 0}));
  st = host("empty");
  ASSERT_TRUE(mend_link_at(Keeping::kRecorded, at("empty"), st));
  EXPECT_EQ(host("empty").st_size, 0) << "which is no symlink";
}

INSTANTIATE_TEST_SUITE_P(Keepings, RecordedBodyTest, testing::Values(Keeping::kRecorded),
                         [](const auto&) { return "recorded"; });

}  // namespace
}  // namespace layerboot::overlay
