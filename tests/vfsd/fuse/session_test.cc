#include "vfsd/fuse/session.h"

#include <algorithm>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "guest-init/attribute_words.h"
#include "tests/vfsd/fuse/session_fixture.h"

namespace layerboot::vfsd::fuse {
namespace {

using test::with_nul;

TEST_F(SessionTest, EntriesNeverExpireAndMissesAreEntries) {
  ASSERT_TRUE(init());
  const auto id = fs.add_file(1, "file", "hello");
  const auto hit = as<fuse_entry_out>(call(FUSE_LOOKUP, 1, {with_nul("file")}));
  EXPECT_EQ(hit.nodeid, id);
  EXPECT_EQ(hit.entry_valid, 1ULL << 32);
  EXPECT_EQ(hit.attr_valid, 1ULL << 32);
  EXPECT_EQ(hit.attr.size, 5U);
  const auto miss = as<fuse_entry_out>(call(FUSE_LOOKUP, 1, {with_nul("none")}));
  EXPECT_EQ(miss.nodeid, 0U);
  EXPECT_EQ(miss.entry_valid, 1ULL << 32);
  EXPECT_EQ(code(FUSE_LOOKUP, 1, {with_nul(std::string(300, 'n'))}), ENAMETOOLONG);
}

TEST_F(SessionTest, SomeQuestionsAreNeverAskedAgain) {
  ASSERT_TRUE(init());
  for (const std::uint32_t opcode : {FUSE_OPEN, FUSE_OPENDIR, FUSE_FLUSH, FUSE_POLL, FUSE_ACCESS}) {
    EXPECT_EQ(code(opcode, 1, {std::vector<std::byte>(16)}), ENOSYS) << opcode;
  }
  EXPECT_EQ(code(kOpStatx, 1, {}), ENOSYS);
  EXPECT_EQ(code(FUSE_IOCTL, 1, {}), ENOTTY);
  for (const std::uint32_t opcode : {FUSE_GETLK, FUSE_SETLK, FUSE_SETLKW})
    EXPECT_EQ(code(opcode, 1, {}), EOPNOTSUPP);
  EXPECT_EQ(code(FUSE_RELEASE, 1, {object_bytes(fuse_release_in{})}), 0);
  EXPECT_EQ(code(FUSE_RELEASE, 1, {}), EINVAL);
  EXPECT_EQ(code(FUSE_RELEASEDIR, 1, {}), 0);
}

TEST_F(SessionTest, AnOpcodeToComeIsNotJudgedByItsBody) {
  ASSERT_TRUE(init());
  const std::vector<std::byte> huge(kMaxWriteBytes, std::byte{0xff});
  for (const std::uint32_t opcode : {kOpCopyFileRange64, 54U, 63U, 4000U, 4096U, ~0U}) {
    for (const std::size_t size : {0UL, 1UL, 56UL, kMaxBodyBytes, kMaxBodyBytes + 1, huge.size()}) {
      EXPECT_EQ(code(opcode, 1, {std::span(huge).first(size)}, 0), ENOSYS) << opcode << " with " << size;
    }
    auto request = encode(opcode, 1, {std::span(huge).first(8)});
    const std::uint16_t units = 0xffff;  // extensions that are not there
    std::memcpy(request.data() + offsetof(fuse_in_header, total_extlen), &units, sizeof(units));
    EXPECT_EQ(exchange(request, 4096).error().code, ENOSYS) << opcode;
  }
}

TEST_F(SessionTest, AHostsEnosysNeverLeaks) {
  ASSERT_TRUE(init());
  fs.fail_with(ENOSYS);
  const std::vector<std::byte> zeros(64);
  for (const std::uint32_t opcode :
       {FUSE_GETATTR, FUSE_READ, FUSE_LSEEK, FUSE_FSYNC, FUSE_STATFS, FUSE_LISTXATTR}) {
    fuse_lseek_in seek{};
    seek.whence = SEEK_DATA;
    const auto got = opcode == FUSE_LSEEK ? code(opcode, 1, {object_bytes(seek)}) : code(opcode, 1, {zeros});
    EXPECT_EQ(got, EOPNOTSUPP) << opcode;
  }
}

TEST_F(SessionTest, ReadsStraightIntoScatteredPages) {
  ASSERT_TRUE(init());
  std::string content(10'000, 'a');
  for (std::size_t i = 0; i < content.size(); ++i) content[i] = static_cast<char>('a' + i % 26);
  const auto id = fs.add_file(1, "file", content);
  fuse_read_in in{};
  in.offset = 10;
  in.size = 5000;
  for (const std::size_t slice : {1U, 7U, 16U, 17U, 4096U, 100'000U}) {
    const auto data = call(FUSE_READ, id, {object_bytes(in)}, 5000, slice);
    ASSERT_TRUE(data);
    EXPECT_EQ(as_text(*data), std::string_view(content).substr(10, 5000)) << slice;
  }
  EXPECT_EQ(call(FUSE_READ, id, {object_bytes(in)}, 100)->size(), 100U) << "no more than there is room for";
  in.offset = 1 << 20;
  EXPECT_TRUE(call(FUSE_READ, id, {object_bytes(in)})->empty());
  in.offset = ~std::uint64_t{0} - 10;
  EXPECT_EQ(code(FUSE_READ, id, {object_bytes(in)}), EINVAL) << "offset and size wrap around";
  EXPECT_EQ(code(FUSE_READ, 1, {object_bytes(fuse_read_in{})}), EISDIR);
}

TEST_F(SessionTest, AReadThatWaitsIsAnsweredLater) {
  ASSERT_TRUE(init());
  const auto id = fs.add_file(1, "file", "late");
  fs.hold_reads();
  fuse_read_in in{};
  in.size = 100;
  TestExchange waiting(encode(FUSE_READ, id, {object_bytes(in)}), 200, 3);
  session.handle(*reactor, waiting);
  EXPECT_FALSE(waiting.completed());
  EXPECT_EQ(fs.waiting_reads(), 1U);
  fs.release_reads();
  reactor->stop();
  reactor->run();
  ASSERT_TRUE(waiting.completed());
  EXPECT_EQ(as_text(*test::FuseClient::judge(waiting.request(), waiting.reply())), "late");
}

TEST_F(SessionTest, WritesWhatIsBehindTheHeader) {
  ASSERT_TRUE(init());
  const auto id = fs.add_file(1, "file", "0123456789");
  fuse_write_in in{};
  in.offset = 3;
  in.size = 4;
  EXPECT_EQ(as<fuse_write_out>(call(FUSE_WRITE, id, {object_bytes(in), as_bytes("abcd")}, 4096, 5)).size, 4U);
  fuse_read_in whole{};
  whole.size = 100;
  EXPECT_EQ(as_text(*call(FUSE_READ, id, {object_bytes(whole)})), "012abcd789");
  in.size = 5;
  EXPECT_EQ(code(FUSE_WRITE, id, {object_bytes(in), as_bytes("abcd")}), EINVAL) << "more than was sent";
  in.size = kMaxWriteBytes + 1;
  EXPECT_EQ(code(FUSE_WRITE, id, {object_bytes(in), as_bytes("abcd")}), EINVAL);
}

TEST_F(SessionTest, CreateGivesNoHandleAndTruncates) {
  ASSERT_TRUE(init());
  const auto id = fs.add_file(1, "file", "content");
  fuse_create_in in{};
  in.flags = O_CREAT | O_TRUNC;
  in.mode = 0644;
  const auto payload = call(FUSE_CREATE, 1, {object_bytes(in), with_nul("file")});
  ASSERT_TRUE(payload);
  ByteReader reader(*payload);
  const auto entry = reader.read<fuse_entry_out>();
  const auto open = reader.read<fuse_open_out>();
  EXPECT_EQ(entry.nodeid, id);
  EXPECT_EQ(entry.attr.size, 0U) << "the client's kernel leaves it to us";
  EXPECT_EQ(open.fh, 0U);
  EXPECT_NE(open.open_flags & FOPEN_KEEP_CACHE, 0U);
  in.flags = O_CREAT | O_EXCL;
  EXPECT_EQ(code(FUSE_CREATE, 1, {object_bytes(in), with_nul("file")}), EEXIST);
  const auto nameless = call(FUSE_TMPFILE, 1, {object_bytes(in), with_nul("/")});
  EXPECT_EQ(as<fuse_entry_out>(nameless).attr.nlink, 0U);
}

TEST_F(SessionTest, SetattrChangesWhatIsValid) {
  ASSERT_TRUE(init());
  const auto id = fs.add_file(1, "file", "content");
  fuse_setattr_in in{};
  in.valid = FATTR_MODE | FATTR_SIZE | FATTR_UID | FATTR_MTIME;
  in.mode = S_IFREG | 0600;
  in.size = 3;
  in.uid = 1000;
  in.gid = 1000;
  in.mtime = static_cast<std::uint64_t>(-5);
  in.mtimensec = 7;
  const auto attr = as<fuse_attr_out>(call(FUSE_SETATTR, id, {object_bytes(in)})).attr;
  EXPECT_EQ(attr.mode, S_IFREG | 0600U);
  EXPECT_EQ(attr.size, 3U);
  EXPECT_EQ(attr.uid, 1000U);
  EXPECT_EQ(attr.gid, 0U);
  EXPECT_EQ(static_cast<std::int64_t>(attr.mtime), -5) << "before 1970";
  EXPECT_EQ(attr.mtimensec, 7U);
  in.mtimensec = 1'000'000'000;
  EXPECT_EQ(code(FUSE_SETATTR, id, {object_bytes(in)}), EINVAL);
}

TEST_F(SessionTest, XattrsAnswerInTheClientsSize) {
  ASSERT_TRUE(init());
  const auto id = fs.add_file(1, "file", "");
  EXPECT_TRUE(call(FUSE_LISTXATTR, id, {object_bytes(fuse_getxattr_in{100, 0})})->empty());
  const fuse_setxattr_in set{5, 0, 0, 0};
  EXPECT_EQ(code(FUSE_SETXATTR, id, {object_bytes(set), with_nul("user.a"), as_bytes("value")}), 0);
  const auto get = [&](std::uint32_t size) {
    return call(FUSE_GETXATTR, id, {object_bytes(fuse_getxattr_in{size, 0}), with_nul("user.a")});
  };
  EXPECT_EQ(as<fuse_getxattr_out>(get(0)).size, 5U);
  EXPECT_EQ(as_text(*get(5)), "value");
  EXPECT_EQ(get(4).error().code, ERANGE);
  EXPECT_EQ(code(FUSE_REMOVEXATTR, id, {with_nul("user.a")}), 0);
  EXPECT_EQ(get(5).error().code, ENODATA);
}

TEST_F(SessionTest, AClientThatKnowsAllAttributesIsToldToAskForNone) {
  ASSERT_TRUE(init());
  const auto ask = [&](std::uint64_t node, const char* name) {
    return call(FUSE_GETXATTR, node, {object_bytes(fuse_getxattr_in{4096, 0}), with_nul(name)});
  };
  EXPECT_EQ(ask(1, guest_init::kAttributedPaths).error().code, ENODATA) << "attributes may change";
  EXPECT_EQ(ask(1, guest_init::kForgoAttributes).error().code, ENODATA) << "ENOSYS would hide them";
  const fuse_setxattr_in set{3, 0, 0, 0};
  for (const char* const name : {guest_init::kAttributedPaths, guest_init::kForgoAttributes}) {
    ASSERT_EQ(code(FUSE_SETXATTR, 1, {object_bytes(set), with_nul(name), as_bytes("own")}), 0);
    EXPECT_EQ(as_text(*ask(1, name)), "own") << "a guest's own";
  }
  fs.attributed = std::string("usr/bin/ping\0", 13);
  EXPECT_EQ(as_text(*ask(1, guest_init::kAttributedPaths)), *fs.attributed);
  EXPECT_EQ(ask(1, guest_init::kForgoAttributes).error().code, ENOSYS);
  const auto id = fs.add_file(1, "file", "");
  EXPECT_EQ(ask(id, guest_init::kForgoAttributes).error().code, ENODATA) << "only the root's mean that";
}

TEST_F(SessionTest, AclsAreForClientsThatObeyThem) {
  // Without one of the three flags that belong together, there are no ACLs.
  for (const std::uint32_t lacking :
       {std::uint32_t{FUSE_POSIX_ACL}, std::uint32_t{FUSE_DONT_MASK}, std::uint32_t{FUSE_SETXATTR_EXT}}) {
    const auto out = init(38, test::FuseClient::kEveryFlag & ~lacking);
    ASSERT_TRUE(out);
    EXPECT_EQ(out->flags & (FUSE_POSIX_ACL | FUSE_DONT_MASK | FUSE_SETXATTR_EXT), 0U);
  }
  const auto id = fs.add_file(1, "file", "");
  const auto acl = with_nul("system.posix_acl_access");
  const std::uint32_t set[2] = {5, 0};  // the short form
  EXPECT_EQ(code(FUSE_SETXATTR, id, {object_bytes(set), with_nul("user.a"), as_bytes("value")}), 0);
  EXPECT_EQ(code(FUSE_GETXATTR, id, {object_bytes(fuse_getxattr_in{9, 0}), acl}), EOPNOTSUPP);
  EXPECT_EQ(code(FUSE_SETXATTR, id, {object_bytes(set), acl, as_bytes("value")}), EOPNOTSUPP);
  ASSERT_TRUE(init());
  const fuse_setxattr_in in{5, 0, FUSE_SETXATTR_ACL_KILL_SGID, 0};
  const auto with_acls = fs.add_file(1, "file2", "");
  EXPECT_EQ(code(FUSE_SETXATTR, with_acls, {object_bytes(in), acl, as_bytes("value")}), 0);
  EXPECT_EQ(fs.last_xattr_flags, vfs::kXattrKillSgid);
}

TEST_F(SessionTest, TheUmaskIsAppliedHereOnlyIfThatWasAgreed) {
  const fuse_mkdir_in in{0777, 027};
  for (const bool agreed : {false, true}) {
    ASSERT_TRUE(init(38, agreed ? test::FuseClient::kEveryFlag
                                : test::FuseClient::kEveryFlag & ~static_cast<unsigned>(FUSE_DONT_MASK)));
    ASSERT_EQ(code(FUSE_MKDIR, 1, {object_bytes(in), with_nul(agreed ? "a" : "b")}), 0);
    EXPECT_EQ(fs.last_caller.umask, agreed ? 027U : 0U);
  }
}

TEST_F(SessionTest, TheGroupOfAnExtensionIsTold) {
  ASSERT_TRUE(init());
  struct Groups {
    std::uint32_t size, type, count, group;
  };
  const auto mkdir_with = [&](Groups groups, std::uint16_t units) {
    static int number = 0;
    auto request = encode(
        FUSE_MKDIR, 1,
        {object_bytes(fuse_mkdir_in{0755, 0}), with_nul(str_cat("d", number++)), object_bytes(groups)});
    fuse_in_header header{};
    std::memcpy(&header, request.data(), sizeof(header));
    header.total_extlen = units;
    std::memcpy(request.data(), &header, sizeof(header));
    const auto result = exchange(request, 4096);
    return result ? 0 : result.error().code;
  };
  EXPECT_EQ(mkdir_with({16, kExtGroups, 1, 42}, 2), 0);
  EXPECT_EQ(fs.last_caller.also_in, 42U);
  EXPECT_EQ(mkdir_with({16, kExtGroups, 0, 42}, 2), 0);
  EXPECT_FALSE(fs.last_caller.also_in);
  EXPECT_EQ(mkdir_with({16, 7, 1, 42}, 2), 0) << "another kind";
  EXPECT_FALSE(fs.last_caller.also_in);
  // What it says of its length must be true.
  EXPECT_EQ(mkdir_with({12, kExtGroups, 1, 42}, 2), EINVAL);
  EXPECT_EQ(mkdir_with({17, kExtGroups, 1, 42}, 2), EINVAL);
  EXPECT_EQ(mkdir_with({7, kExtGroups, 1, 42}, 2), EINVAL);
  EXPECT_EQ(mkdir_with({0, kExtGroups, 1, 42}, 2), EINVAL);
  EXPECT_EQ(mkdir_with({16, kExtGroups, 1, 42}, 0), EINVAL) << "bytes that nobody has announced";
  EXPECT_EQ(mkdir_with({16, kExtGroups, 1, 42}, 0xffff), EINVAL);
}

TEST_F(SessionTest, StatfsIsNot32Bit) {
  ASSERT_TRUE(init());
  const auto st = as<fuse_statfs_out>(call(FUSE_STATFS, 1, {})).st;
  EXPECT_EQ(st.blocks, 1ULL << 40);
  EXPECT_EQ(st.bsize, 4096U);
  EXPECT_EQ(st.namelen, 255U);
}

TEST_F(SessionTest, ListsPageByPageWhateverTheSize) {
  ASSERT_TRUE(init());
  for (int i = 0; i < 100; ++i) fs.add_file(1, str_cat("entry", i), "");
  for (const std::uint32_t size : {200U, 1000U, 4096U, kMaxWriteBytes, ~0U}) {
    std::size_t entries = 0;
    fuse_read_in in{};
    in.size = size;
    for (;;) {
      const auto page = call(FUSE_READDIRPLUS, 1, {object_bytes(in)}, std::min(size, 2U << 20));
      ASSERT_TRUE(page) << size;
      ASSERT_LE(page->size(), size);
      if (page->empty()) break;
      ByteReader reader(*page);
      while (!reader.rest().empty()) {
        const auto plus = reader.read<fuse_direntplus>();
        reader.take(FUSE_DIRENT_ALIGN(sizeof(plus) + plus.dirent.namelen) - sizeof(plus));
        ASSERT_TRUE(reader.ok());
        in.offset = plus.dirent.off;
        ++entries;
      }
    }
    EXPECT_EQ(entries, 102U) << size;
  }
  fuse_read_in tiny{};
  tiny.size = 8;
  EXPECT_EQ(code(FUSE_READDIRPLUS, 1, {object_bytes(tiny)}), EINVAL) << "an empty page would mean the end";
}

class ReadOnlySessionTest : public SessionTest {
 protected:
  ReadOnlySessionTest() : SessionTest({.read_only = true}) {}
};

TEST_F(ReadOnlySessionTest, ReadsDirectlyWithoutWaiting) {
  EXPECT_NE(init()->flags & FUSE_ASYNC_DIO, 0U) << "nobody writes beside it";
}

TEST_F(ReadOnlySessionTest, RefusesChanges) {
  ASSERT_TRUE(init());
  const auto id = fs.add_file(1, "file", "hello");
  EXPECT_EQ(code(FUSE_MKDIR, 1, {object_bytes(fuse_mkdir_in{0755, 0}), with_nul("d")}), EROFS);
  EXPECT_EQ(code(FUSE_UNLINK, 1, {with_nul("file")}), EROFS);
  EXPECT_EQ(code(FUSE_SETATTR, id, {object_bytes(fuse_setattr_in{})}), EROFS);
  EXPECT_EQ(as<fuse_entry_out>(call(FUSE_LOOKUP, 1, {with_nul("file")})).nodeid, id);
}

}  // namespace
}  // namespace layerboot::vfsd::fuse
