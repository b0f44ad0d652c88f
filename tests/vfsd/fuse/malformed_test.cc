// Every opcode with every kind of malformed request: an error or silence, never a crash, never a wrong
// length.
#include <random>

#include "tests/vfsd/fuse/session_fixture.h"
#include "vfsd/fuse/ops.h"

namespace layerboot::vfsd::fuse {
namespace {

using test::with_nul;

constexpr std::uint32_t kOpcodes = 56;
constexpr std::uint64_t kBadNode = 0xdead'beef'0000;

bool is_silent(std::uint32_t opcode) {
  return opcode == FUSE_FORGET || opcode == FUSE_BATCH_FORGET || opcode == FUSE_INTERRUPT;
}

bool is_known(std::uint32_t opcode) {
  return find_io_operation(opcode) != nullptr || find_namespace_operation(opcode) != nullptr ||
         opcode == FUSE_INIT || opcode == FUSE_DESTROY;
}

class MalformedTest : public SessionTest {
 protected:
  void SetUp() override { ASSERT_TRUE(init()); }

  /// Handles `request` and checks what may be said of any reply. Gives its errno, 0, or ENOMSG for none.
  int survive(std::span<const std::byte> request, std::size_t reply_bytes, std::size_t slice_bytes = 64) {
    TestExchange exchange(request, reply_bytes, slice_bytes);
    session.handle(*reactor, exchange);
    EXPECT_TRUE(exchange.completed());
    if (exchange.reply().empty()) return ENOMSG;
    const auto judged = test::FuseClient::judge(request.size() < sizeof(fuse_in_header)
                                                    ? std::vector<std::byte>(sizeof(fuse_in_header))
                                                    : std::vector(request.begin(), request.end()),
                                                exchange.reply());
    if (judged) return 0;
    EXPECT_NE(judged.error().code, EBADMSG) << judged.error().describe();
    return judged.error().code;
  }
};

TEST_F(MalformedTest, ShortBodies) {
  for (std::uint32_t opcode = 0; opcode < kOpcodes; ++opcode) {
    if (opcode == FUSE_DESTROY) continue;
    for (std::size_t body = 0; body < 16; ++body) {
      const int code = survive(encode(opcode, 1, {std::vector<std::byte>(body, std::byte{'x'})}), 4096);
      if (is_silent(opcode)) {
        EXPECT_EQ(code, ENOMSG) << opcode;
      }
    }
  }
  // Those that need a body say so.
  for (const std::uint32_t opcode :
       {FUSE_LOOKUP,          FUSE_SETATTR,     FUSE_SYMLINK,  FUSE_MKNOD,     FUSE_MKDIR,       FUSE_UNLINK,
        FUSE_RMDIR,           FUSE_RENAME,      FUSE_RENAME2,  FUSE_LINK,      FUSE_READ,        FUSE_WRITE,
        FUSE_FSYNC,           FUSE_SETXATTR,    FUSE_GETXATTR, FUSE_LISTXATTR, FUSE_REMOVEXATTR, FUSE_INIT,
        FUSE_READDIR,         FUSE_READDIRPLUS, FUSE_FSYNCDIR, FUSE_CREATE,    FUSE_FALLOCATE,   FUSE_LSEEK,
        FUSE_COPY_FILE_RANGE, FUSE_TMPFILE}) {
    EXPECT_EQ(survive(encode(opcode, 1, {}), 4096), EINVAL) << opcode;
  }
}

TEST_F(MalformedTest, NamesWithoutAnEnd) {
  const std::vector<std::byte> endless(100, std::byte{'n'});
  const std::vector<std::byte> zeros(64);
  EXPECT_EQ(survive(encode(FUSE_LOOKUP, 1, {endless}), 4096), EINVAL);
  EXPECT_EQ(survive(encode(FUSE_UNLINK, 1, {endless}), 4096), EINVAL);
  EXPECT_EQ(survive(encode(FUSE_SYMLINK, 1, {with_nul("a"), endless}), 4096), EINVAL);
  EXPECT_EQ(survive(encode(FUSE_RENAME, 1, {std::span(zeros).first(8), with_nul("a"), endless}), 4096),
            EINVAL);
  EXPECT_EQ(survive(encode(FUSE_MKDIR, 1, {std::span(zeros).first(8), endless}), 4096), EINVAL);
  EXPECT_EQ(survive(encode(FUSE_LOOKUP, 1, {with_nul("")}), 4096), EINVAL) << "an empty name";
  EXPECT_EQ(survive(encode(FUSE_LOOKUP, 1, {with_nul("a"), with_nul("b")}), 4096), EINVAL) << "two names";
  for (const auto name : {".", "..", "a/b", "/"}) {
    EXPECT_EQ(survive(encode(FUSE_LOOKUP, 1, {with_nul(name)}), 4096), EINVAL) << name;
  }
}

TEST_F(MalformedTest, BodiesThatAreTooLong) {
  const std::vector<std::byte> huge(kMaxBodyBytes + 1, std::byte{'n'});
  for (std::uint32_t opcode = 0; opcode < kOpcodes; ++opcode) {
    if (opcode == FUSE_WRITE) continue;
    const int wanted = is_silent(opcode) ? ENOMSG : is_known(opcode) ? EINVAL : ENOSYS;
    EXPECT_EQ(survive(encode(opcode, 1, {huge}), 4096), wanted) << opcode;
  }
}

TEST_F(MalformedTest, LengthsThatDoNotFit) {
  for (const std::uint32_t claimed : {0U, 1U, 39U, 1000U, ~0U}) {
    for (std::uint32_t opcode = 0; opcode < kOpcodes; ++opcode) {
      auto request = encode(opcode, 1, {with_nul("name")});
      std::memcpy(request.data(), &claimed, sizeof(claimed));
      EXPECT_EQ(survive(request, 4096), is_silent(opcode) ? ENOMSG : EINVAL) << opcode << " of " << claimed;
    }
  }
  for (std::size_t size = 0; size < sizeof(fuse_in_header); ++size) {
    EXPECT_EQ(survive(std::vector<std::byte>(size), 4096), EINVAL) << "half a header";
  }
}

TEST_F(MalformedTest, CountsThatOverflow) {
  const auto id = fs.add_file(1, "file", "x");
  as<fuse_entry_out>(call(FUSE_LOOKUP, 1, {with_nul("file")}));
  for (const std::uint32_t count : {2U, 0x1000'0000U, ~0U}) {
    const fuse_batch_forget_in in{count, 0};
    const fuse_forget_one one{id, 1};
    EXPECT_EQ(survive(encode(FUSE_BATCH_FORGET, 0, {object_bytes(in), object_bytes(one)}), 0), ENOMSG);
    EXPECT_EQ(fs.references(id), 1U) << "nothing of a malformed FORGET counts";
  }
  for (const std::uint32_t size : {6U, 0x8000'0000U, ~0U}) {
    const fuse_setxattr_in set{size, 0, 0, 0};
    EXPECT_EQ(
        survive(encode(FUSE_SETXATTR, id, {object_bytes(set), with_nul("user.a"), as_bytes("value")}), 64),
        EINVAL);
  }
}

TEST_F(MalformedTest, NodesThatAreNot) {
  const std::vector<std::byte> zeros(128);
  for (std::uint32_t opcode = 0; opcode < kOpcodes; ++opcode) {
    if (opcode == FUSE_DESTROY) continue;
    survive(encode(opcode, kBadNode, {zeros}), 4096);
    survive(encode(opcode, 0, {with_nul("name")}), 4096);
  }
  EXPECT_EQ(survive(encode(FUSE_GETATTR, kBadNode, {}), 4096), ESTALE);
  EXPECT_EQ(survive(encode(FUSE_READ, kBadNode, {object_bytes(fuse_read_in{})}), 4096), ESTALE);
}

TEST_F(MalformedTest, RepliesWithoutRoom) {
  fs.add_file(1, "file", "x");
  const std::vector<std::byte> zeros(128);
  for (std::uint32_t opcode = 0; opcode < kOpcodes; ++opcode) {
    if (opcode == FUSE_DESTROY) continue;
    for (const std::size_t room : {0U, 1U, 15U}) {
      EXPECT_EQ(survive(encode(opcode, 1, {zeros}), room, 3), ENOMSG) << opcode;
    }
    for (const std::size_t room : {16U, 17U, 40U}) survive(encode(opcode, 1, {zeros}), room, 3);
  }
  EXPECT_EQ(survive(encode(FUSE_MKDIR, 1, {object_bytes(fuse_mkdir_in{}), with_nul("d")}), 100), EINVAL);
  EXPECT_EQ(as<fuse_entry_out>(call(FUSE_LOOKUP, 1, {with_nul("d")})).nodeid, 0U) << "it was not made";
}

TEST_F(MalformedTest, RandomBodies) {
  const std::uint32_t seed = 20260;
  SCOPED_TRACE(seed);
  std::mt19937 random(seed);
  fs.add_file(1, "a", "content");
  for (int i = 0; i < 30'000; ++i) {
    const auto opcode = static_cast<std::uint32_t>(random() % kOpcodes);
    if (opcode == FUSE_DESTROY) continue;
    std::vector<std::byte> body(random() % 120);
    for (auto& byte : body) byte = static_cast<std::byte>(random() % 3 == 0 ? random() : random() % 2 * 'a');
    survive(encode(opcode, random() % 4, {body}), random() % 300, 1 + random() % 50);
  }
}

}  // namespace
}  // namespace layerboot::vfsd::fuse
