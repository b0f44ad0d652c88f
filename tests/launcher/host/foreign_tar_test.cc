#include "launcher/host/foreign_tar.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>

#include "tests/launcher/scratch_dir.h"
#include "tests/support/tar_builder.h"

namespace layerboot::launcher {
namespace {

namespace fs = std::filesystem;
using test::TarBuilder;
using test::TarFormat;
using test::TarMember;

TarMember member(char type, std::string name, std::uint64_t mode = 0666) {
  TarMember made;
  made.type = type;
  made.name = std::move(name);
  made.mode = mode;
  made.device_major = 1;
  made.device_minor = 5;
  return made;
}

TarMember owned(TarMember made, std::int64_t uid, std::int64_t gid) {
  made.uid = uid;
  made.gid = gid;
  return made;
}

class ForeignTarTest : public testing::Test {
 protected:
  ForeignTarTest() { fs::create_directories(target()); }
  fs::path target() const { return scratch_.path() / "target"; }

  /// What the guest says is read from a file, which ends as a pipe does.
  Result<bool> unpack(const std::string& tar, const std::string& name, bool keep_owners = false) {
    std::ofstream(scratch_.path() / "tar", std::ios::binary) << tar;
    const UniqueFd file = *open_path(scratch_.path() / "tar", O_RDONLY);
    auto tree = ForeignTree::open(target());
    EXPECT_TRUE(tree);
    told_.clear();
    return unpack_foreign_tar(file.get(), *tree, {.name = name, .keep_owners = keep_owners},
                              [this](const std::string& text) { told_.push_back(text); });
  }
  std::string text_of(const fs::path& path) const {
    std::ifstream file(target() / path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  mode_t mode_of(const fs::path& path) const {
    struct stat st{};
    EXPECT_EQ(::lstat((target() / path).c_str(), &st), 0) << path;
    return st.st_mode & 07777;
  }
  bool is_there(const fs::path& path) const { return fs::exists(fs::symlink_status(target() / path)); }
  /// Of the directory, hidden ones too.
  std::size_t names_in_target() const {
    return static_cast<std::size_t>(std::distance(fs::directory_iterator(target()), {}));
  }

  ScratchDir scratch_;
  std::vector<std::string> told_;
};

TEST_F(ForeignTarTest, MakesWhatWasAskedFor) {
  const std::string long_name(200, 'n');
  const auto done = unpack(TarBuilder(TarFormat::kGnu)
                               .directory("tree/", 0750)
                               .file("tree/file", std::string(100'000, 'x'), 0640)
                               .file("tree/empty", "")
                               .symlink("tree/link", "/etc/passwd")
                               .directory("tree/below/", 0555)
                               .file("tree/below/" + long_name, "deep")
                               .file("tree/last", "last")
                               .finish(),
                           "tree");
  ASSERT_TRUE(done) << done.error().describe();
  EXPECT_TRUE(*done);
  EXPECT_TRUE(told_.empty()) << told_.front();
  EXPECT_EQ(text_of("tree/file"), std::string(100'000, 'x'));
  EXPECT_EQ(text_of("tree/below/" + long_name), "deep");
  EXPECT_EQ(text_of("tree/last"), "last");
  EXPECT_EQ(fs::read_symlink(target() / "tree/link"), "/etc/passwd");
  EXPECT_EQ(mode_of("tree"), 0750U);
  EXPECT_EQ(mode_of("tree/below"), 0555U);
  EXPECT_EQ(mode_of("tree/file"), 0640U);
  struct stat st{};
  ASSERT_EQ(::stat((target() / "tree").c_str(), &st), 0);
  EXPECT_EQ(st.st_mtime, 1'700'000'000) << "of a directory too, whatever came into it";
}

TEST_F(ForeignTarTest, FollowsNoSymlinkOfTheGuests) {
  fs::create_directories(target() / ".ssh");
  const auto done =
      unpack(TarBuilder().symlink("motd", ".ssh").file("motd/authorized_keys", "mine").finish(), "motd");
  ASSERT_TRUE(done);
  EXPECT_FALSE(*done);
  ASSERT_EQ(told_.size(), 1U);
  EXPECT_NE(told_[0].find("motd/authorized_keys"), std::string::npos) << told_[0];
  EXPECT_NE(told_[0].find("not followed"), std::string::npos) << told_[0];
  EXPECT_FALSE(is_there(".ssh/authorized_keys"));
}

TEST_F(ForeignTarTest, FollowsNoSymlinkThatWasThere) {
  fs::create_directories(target() / "tree");
  fs::create_directories(scratch_.path() / "elsewhere");
  fs::create_directory_symlink(scratch_.path() / "elsewhere", target() / "tree/out");
  std::ofstream(scratch_.path() / "elsewhere/file") << "kept";
  fs::create_symlink(scratch_.path() / "elsewhere/file", target() / "tree/file");
  const auto done = unpack(TarBuilder()
                               .directory("tree/")
                               .directory("tree/out/", 0777)
                               .file("tree/out/new", "x")
                               .file("tree/file", "replaced")
                               .finish(),
                           "tree");
  ASSERT_TRUE(done);
  EXPECT_FALSE(*done);
  EXPECT_EQ(told_.size(), 2U);
  EXPECT_FALSE(fs::exists(scratch_.path() / "elsewhere/new"));
  EXPECT_EQ(text_of("tree/file"), "replaced");
  EXPECT_FALSE(fs::is_symlink(target() / "tree/file"));
  EXPECT_EQ(text_of("../elsewhere/file"), "kept");
}

TEST_F(ForeignTarTest, TakesNothingElse) {
  const auto done = unpack(TarBuilder()
                               .file("motd", "x")
                               .file("other", "x")
                               .file("../above", "x")
                               .file("motd/../../above", "x")
                               .file("/motd2", "x")
                               .hard_link("motd/link", "other")
                               .finish(),
                           "motd");
  ASSERT_TRUE(done);
  EXPECT_FALSE(*done);
  EXPECT_EQ(told_.size(), 5U);
  EXPECT_EQ(names_in_target(), 1U);
  EXPECT_FALSE(fs::exists(scratch_.path() / "above"));
}

TEST_F(ForeignTarTest, GivesNoRightsAndMakesNoDevices) {
  const auto done = unpack(TarBuilder()
                               .directory("tree/", 07777)
                               .file("tree/set-id", "x", 06755)
                               .add(member('3', "tree/null"))
                               .add(member('4', "tree/disk"))
                               .add(member('6', "tree/fifo"))
                               .finish(),
                           "tree", ::geteuid() == 0);
  ASSERT_TRUE(done);
  EXPECT_TRUE(*done) << "they are told, as sockets are";
  EXPECT_EQ(told_.size(), 3U);
  EXPECT_EQ(mode_of("tree"), 01777U);
  EXPECT_EQ(mode_of("tree/set-id"), 0755U);
  for (const char* name : {"tree/null", "tree/disk", "tree/fifo"}) EXPECT_FALSE(is_there(name)) << name;
}

TEST_F(ForeignTarTest, WhatWasThereKeepsWhatItIs) {
  fs::permissions(target(), fs::perms::owner_all);
  fs::create_directories(target() / "below");
  fs::permissions(target() / "below", fs::perms::owner_all);
  const auto done = unpack(
      TarBuilder().directory("./", 01777).directory("./below/", 0777).file("./below/f", "x").finish(), ".");
  ASSERT_TRUE(done);
  EXPECT_TRUE(*done);
  EXPECT_EQ(mode_of(""), 0700U);
  EXPECT_EQ(mode_of("below"), 0700U);
  EXPECT_EQ(text_of("below/f"), "x");
}

TEST_F(ForeignTarTest, ADirectoryAndWhatIsNoneDoNotReplaceEachOther) {
  fs::create_directories(target() / "directory");
  std::ofstream(target() / "file") << "kept";
  const auto done = unpack(TarBuilder()
                               .file("directory", "x")
                               .symlink("directory", "x")
                               .directory("file/")
                               .file("file/x", "x")
                               .finish(),
                           ".");
  ASSERT_TRUE(done);
  EXPECT_FALSE(*done);
  EXPECT_EQ(told_.size(), 4U);
  EXPECT_EQ(text_of("file"), "kept");
  EXPECT_TRUE(fs::is_directory(target() / "directory"));
  EXPECT_EQ(names_in_target(), 2U) << "nothing half-made is left";
}

TEST_F(ForeignTarTest, WhatIsCutOffIsNotThere) {
  std::ofstream(target() / "file") << "kept";
  const std::string tar = TarBuilder().file("file", std::string(3000, 'x')).finish();
  for (const std::size_t size_bytes : {0U, 100U, 512U, 1024U, 3072U}) {
    const auto done = unpack(tar.substr(0, size_bytes), "file");
    ASSERT_FALSE(done) << size_bytes;
    EXPECT_EQ(done.error().code, EBADMSG);
    EXPECT_EQ(text_of("file"), "kept");
    EXPECT_EQ(names_in_target(), 1U);
  }
}

TEST_F(ForeignTarTest, WhatIsNoTarIsAnError) {
  EXPECT_EQ(unpack(std::string(2048, 'x'), "file").error().code, EBADMSG);
  EXPECT_EQ(unpack(TarBuilder().finish(), "file").error().code, ENOENT);
  EXPECT_EQ(unpack(TarBuilder().add(member('S', "file")).finish(), "file").error().code, EBADMSG);
  EXPECT_EQ(names_in_target(), 0U);
}

TEST_F(ForeignTarTest, TellsAFewOfMany) {
  TarBuilder tar;
  tar.file("motd", "x");
  for (int i = 0; i < 1000; ++i) tar.file("\033[2Jother", "x");
  const auto done = unpack(tar.finish(), "motd");
  ASSERT_TRUE(done);
  EXPECT_FALSE(*done);
  ASSERT_EQ(told_.size(), 21U);
  EXPECT_EQ(told_.back(), "and 980 more");
  EXPECT_EQ(told_.front().find('\033'), std::string::npos) << "a name is no command to a terminal";
}

TEST_F(ForeignTarTest, KeepsOwnersWhereThatIsAskedFor) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root gives files away";
  const std::string tar = TarBuilder(TarFormat::kGnu)
                              .add(owned(member('5', "tree/", 0755), 1234, 2345))
                              .add(owned(member('0', "tree/file", 04755), 1234, 2345))
                              .add(owned(member('0', "tree/nobody"), 0xffffffff, 0))
                              .finish();
  struct stat st{};
  ASSERT_TRUE(unpack(tar, "tree"));
  ASSERT_EQ(::stat((target() / "tree/file").c_str(), &st), 0);
  EXPECT_EQ(st.st_uid, 0U);
  fs::remove_all(target() / "tree");
  const auto done = unpack(tar, "tree", true);
  ASSERT_TRUE(done);
  EXPECT_FALSE(*done) << "of one nobody can be the owner";
  for (const char* name : {"tree", "tree/file"}) {
    ASSERT_EQ(::stat((target() / name).c_str(), &st), 0);
    EXPECT_EQ(st.st_uid, 1234U) << name;
    EXPECT_EQ(st.st_gid, 2345U) << name;
    EXPECT_EQ(st.st_mode & 07777, 0755U) << name;
  }
  ASSERT_EQ(::stat((target() / "tree/nobody").c_str(), &st), 0);
  EXPECT_EQ(st.st_uid, 0U);
}

}  // namespace
}  // namespace layerboot::launcher
