// What becomes of set-id bits when a client's kernel leaves that to us.
#include "vfsd/fuse/privileges.h"

#include <linux/falloc.h>
#include <sys/stat.h>

#include "tests/vfsd/fuse/session_fixture.h"

namespace layerboot::vfsd::fuse {
namespace {

using test::with_nul;

/// As a request's header tells them.
struct Person {
  std::uint32_t uid = kUntoldId;
  std::uint32_t gid = kUntoldId;
  std::uint32_t pid = 0;
};

class PrivilegesTest : public SessionTest {
 protected:
  static constexpr Person kOwner{.uid = 1000, .gid = 1000, .pid = 10};
  static constexpr Person kMember{.uid = 1002, .gid = 100, .pid = 12};
  static constexpr Person kStranger{.uid = 1003, .gid = 1003, .pid = 13};
  static constexpr Person kRoot{.uid = 0, .gid = 0, .pid = 1};
  static constexpr Person kUntold{.pid = 14};

  void SetUp() override { ASSERT_TRUE(init()); }

  vfs::NodeId add(std::uint32_t mode, const std::string& name = "file") {
    const auto id = fs.add_file(1, name, "content");
    fuse_setattr_in in{};
    in.valid = FATTR_MODE | FATTR_UID | FATTR_GID;
    in.mode = mode;
    in.uid = kOwner.uid;
    in.gid = kMember.gid;
    EXPECT_EQ(code(FUSE_SETATTR, id, {object_bytes(in)}), 0);
    return id;
  }
  Result<std::vector<std::byte>> ask(const Person& person, std::uint32_t opcode, vfs::NodeId id,
                                     Parts parts) {
    auto request = encode(opcode, id, parts);
    fuse_in_header header{};
    std::memcpy(&header, request.data(), sizeof(header));
    header.uid = person.uid;
    header.gid = person.gid;
    header.pid = person.pid;
    std::memcpy(request.data(), &header, sizeof(header));
    return exchange(request, 4096);
  }
  /// A SETATTR by a person; the mode that its reply tells.
  std::uint32_t change(const Person& person, vfs::NodeId id, std::uint32_t valid) {
    fuse_setattr_in in{};
    in.valid = valid;
    return as<fuse_attr_out>(ask(person, FUSE_SETATTR, id, {object_bytes(in)})).attr.mode & 07777U;
  }
  std::uint32_t mode(vfs::NodeId id) {
    return as<fuse_attr_out>(call(FUSE_GETATTR, id, {})).attr.mode & 07777U;
  }
  void write(const Person& person, vfs::NodeId id, std::uint32_t flags) {
    fuse_write_in in{};
    in.size = 1;
    in.write_flags = flags;
    EXPECT_TRUE(ask(person, FUSE_WRITE, id, {object_bytes(in), as_bytes("x")}));
  }
  void allocate(const Person& person, vfs::NodeId id) {
    fuse_fallocate_in in{};
    in.length = 10;
    EXPECT_TRUE(ask(person, FUSE_FALLOCATE, id, {object_bytes(in)}));
  }
};

TEST_F(PrivilegesTest, SetIdBitsOfAFileAreAskedForEachTime) {
  const auto plain = add(0755, "plain");
  for (const std::uint32_t set_id : {04755U, 02755U, 02644U, 06777U}) {
    const auto name = str_cat("file", set_id);
    const auto id = add(set_id, name);
    const auto entry = as<fuse_entry_out>(call(FUSE_LOOKUP, 1, {with_nul(name)}));
    EXPECT_EQ(entry.attr_valid, 0U) << std::oct << set_id;
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

TEST_F(PrivilegesTest, WhoAsksAndGoesOnTakesThemAway) {
  constexpr std::uint32_t kOwnTime = FATTR_CTIME;
  int number = 0;
  for (const Person& person : {kMember, kStranger, kUntold}) {
    for (const std::uint32_t valid : {0U, kOwnTime}) {
      const auto id = add(06755, str_cat("file", number++));
      EXPECT_EQ(change(person, id, valid), 06755U) << "only what comes next shows that he may";
      allocate(person, id);
      EXPECT_EQ(mode(id), 0755U);
    }
  }
  const auto written = add(06666, "written");
  change(kUntold, written, 0);
  write(kUntold, written, FUSE_WRITE_KILL_SUIDGID);
  EXPECT_EQ(mode(written), 0666U);
}

TEST_F(PrivilegesTest, AskingAloneTakesNothing) {
  const auto id = add(04755);
  change(kStranger, id, 0);
  EXPECT_EQ(mode(id), 04755U);
  allocate(kRoot, id);
  write(kRoot, id, 0);
  EXPECT_EQ(mode(id), 04755U) << "who may keep them did not ask";
  change(kUntold, id, 0);  // in the stranger's place
  allocate(kStranger, id);
  EXPECT_EQ(mode(id), 04755U);
  allocate(kUntold, id);
  EXPECT_EQ(mode(id), 0755U);
}

TEST_F(PrivilegesTest, ANewClientHasAskedForNothing) {
  const auto id = add(04755);
  change(kUntold, id, 0);
  ASSERT_TRUE(init());
  allocate(kUntold, id);
  EXPECT_EQ(mode(id), 04755U);
}

TEST_F(PrivilegesTest, MoreThanIsRememberedCountsAsAsked) {
  for (int i = 0; i < 5000; ++i) change(kStranger, add(04755, str_cat("file", i)), 0);
  const auto id = add(04755);
  allocate(kRoot, id);
  EXPECT_EQ(mode(id), 0755U);
}

TEST_F(PrivilegesTest, OfRootAndTheOwnerItIsAChownWithNothingToChange) {
  EXPECT_EQ(change(kRoot, add(06755, "a"), 0), 0755U);
  EXPECT_EQ(change(kOwner, add(06755, "b"), 0), 0755U);
  EXPECT_EQ(change(kRoot, add(06666, "c"), 0), 02666U) << "it gives nobody a right, and root may keep it";
  EXPECT_EQ(change(kOwner, add(06666, "d"), 0), 0666U) << "who is not of the group";
  EXPECT_EQ(change(kOwner, add(06755, "e"), FATTR_ATIME | FATTR_ATIME_NOW), 06755U) << "it names something";
}

TEST_F(PrivilegesTest, AClientThatDoesItItselfIsLeftTo) {
  constexpr std::uint32_t kEarlier =
      test::FuseClient::kEveryFlag & ~static_cast<std::uint32_t>(FUSE_HANDLE_KILLPRIV_V2);
  ASSERT_TRUE(init(31, kEarlier));
  EXPECT_EQ(change(kOwner, add(06755), 0), 06755U);
}

TEST_F(PrivilegesTest, TruncationTellsWhoMayKeepThem) {
  constexpr std::uint32_t kKilling = FATTR_SIZE | FATTR_KILL_SUIDGID;
  EXPECT_EQ(change(kStranger, add(06666, "a"), kKilling), 0666U);
  EXPECT_EQ(change(kUntold, add(06666, "b"), kKilling), 0666U);
  EXPECT_EQ(change(kMember, add(06666, "c"), kKilling), 02666U);
  EXPECT_EQ(change(kStranger, add(06666, "d"), FATTR_SIZE), 06666U) << "who may";
}

}  // namespace
}  // namespace layerboot::vfsd::fuse
