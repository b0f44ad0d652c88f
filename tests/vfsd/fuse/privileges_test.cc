// What becomes of set-id bits when a client's kernel leaves that to us.
#include "vfsd/fuse/privileges.h"

#include <sys/stat.h>

#include "tests/vfsd/fuse/session_fixture.h"

namespace layerboot::vfsd::fuse {
namespace {

using test::with_nul;

class PrivilegesTest : public SessionTest {
 protected:
  static constexpr std::uint32_t kOwner = 1000;
  static constexpr std::uint32_t kGroup = 100;

  void SetUp() override { ASSERT_TRUE(init()); }

  vfs::NodeId add(std::uint32_t mode, const std::string& name = "file") {
    const auto id = fs.add_file(1, name, "content");
    fuse_setattr_in in{};
    in.valid = FATTR_MODE | FATTR_UID | FATTR_GID;
    in.mode = mode;
    in.uid = kOwner;
    in.gid = kGroup;
    EXPECT_EQ(code(FUSE_SETATTR, id, {object_bytes(in)}), 0);
    return id;
  }
  /// The mode after a SETATTR of `valid` by a caller, as the reply tells it.
  std::uint32_t mode_after(vfs::NodeId id, std::uint32_t valid, std::uint32_t uid, std::uint32_t gid) {
    fuse_setattr_in in{};
    in.valid = valid;
    auto request = encode(FUSE_SETATTR, id, {object_bytes(in)});
    fuse_in_header header{};
    std::memcpy(&header, request.data(), sizeof(header));
    header.uid = uid;
    header.gid = gid;
    std::memcpy(request.data(), &header, sizeof(header));
    return as<fuse_attr_out>(exchange(request, 4096)).attr.mode & 07777U;
  }
};

TEST_F(PrivilegesTest, SetIdBitsOfAFileAreAskedForEachTime) {
  const auto plain = add(0755, "plain");
  for (const std::uint32_t mode : {04755U, 02755U, 02644U, 06777U}) {
    const auto name = str_cat("file", mode);
    const auto id = add(mode, name);
    const auto entry = as<fuse_entry_out>(call(FUSE_LOOKUP, 1, {with_nul(name)}));
    EXPECT_EQ(entry.attr_valid, 0U) << std::oct << mode;
    EXPECT_EQ(entry.entry_valid, kForeverSeconds) << "its name stays";
    EXPECT_EQ(as<fuse_attr_out>(call(FUSE_GETATTR, id, {})).attr_valid, 0U);
  }
  EXPECT_EQ(as<fuse_attr_out>(call(FUSE_GETATTR, plain, {})).attr_valid, kForeverSeconds);
  const auto miss = as<fuse_entry_out>(call(FUSE_LOOKUP, 1, {with_nul("none")}));
  EXPECT_EQ(miss.attr_valid, kForeverSeconds);
  vfs::Attr directory;
  directory.mode = S_IFDIR | S_ISGID | 0755U;
  EXPECT_EQ(attr_valid_seconds(directory, 7), 7U) << "a directory's is no privilege";
}

TEST_F(PrivilegesTest, ASetattrThatNamesNothingTakesThemAway) {
  constexpr std::uint32_t kFile = FATTR_FH;
  constexpr std::uint32_t kOwnTime = FATTR_CTIME;
  for (const std::uint32_t valid : {0U, kFile, kOwnTime, kFile | FATTR_LOCKOWNER}) {
    const auto id = add(06755, str_cat("file", valid));
    EXPECT_EQ(mode_after(id, valid, kUntoldId, kUntoldId), 0755U) << valid;
  }
  EXPECT_EQ(mode_after(add(06755, "named"), FATTR_ATIME | FATTR_ATIME_NOW, kOwner, kGroup), 06755U);
}

TEST_F(PrivilegesTest, AClientThatDoesItItselfIsLeftTo) {
  constexpr std::uint32_t kEarlier =
      test::FuseClient::kEveryFlag & ~static_cast<std::uint32_t>(FUSE_HANDLE_KILLPRIV_V2);
  ASSERT_TRUE(init(31, kEarlier));
  EXPECT_EQ(mode_after(add(06755), 0, kOwner, kGroup), 06755U);
}

TEST_F(PrivilegesTest, TheGroupsBitOfNoUseIsForItsMembers) {
  constexpr std::uint32_t kMode = 06666;
  int number = 0;
  const auto after = [&](std::uint32_t valid, std::uint32_t uid, std::uint32_t gid) {
    return mode_after(add(kMode, str_cat("file", number++)), valid, uid, gid);
  };
  EXPECT_EQ(after(0, 1001, 1001), 0666U);
  EXPECT_EQ(after(0, kUntoldId, kUntoldId), 0666U) << "nobody said that it may stay";
  EXPECT_EQ(after(0, kOwner, kGroup), 02666U);
  EXPECT_EQ(after(0, 0, 0), 02666U) << "root's chown(-1, -1)";
  EXPECT_EQ(after(FATTR_SIZE | FATTR_KILL_SUIDGID, 1001, 1001), 0666U);
  EXPECT_EQ(after(FATTR_SIZE | FATTR_KILL_SUIDGID, 1001, kGroup), 02666U);
  EXPECT_EQ(after(FATTR_SIZE, 1001, 1001), kMode) << "who may keep it";
}

}  // namespace
}  // namespace layerboot::vfsd::fuse
