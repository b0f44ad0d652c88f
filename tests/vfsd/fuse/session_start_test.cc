// How a client begins, and what is agreed with it.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <memory>
#include <thread>

#include "tests/vfsd/fuse/session_fixture.h"
#include "vfsd/fuse/session.h"

namespace layerboot::vfsd::fuse {
namespace {

using test::with_nul;

TEST_F(SessionTest, NegotiatesWhatIsAdvised) {
  const auto out = init();
  ASSERT_TRUE(out);
  EXPECT_EQ(out->major, 7U);
  EXPECT_EQ(out->minor, 38U) << "no more than the client";
  EXPECT_EQ(out->max_write, 1U << 20);
  EXPECT_EQ(out->max_pages, 256);
  EXPECT_EQ(out->max_background, 65535);
  EXPECT_EQ(out->congestion_threshold, 49151);
  EXPECT_EQ(out->max_readahead, 128U << 10);
  EXPECT_EQ(out->time_gran, 1U);
  for (const int yes :
       {FUSE_ASYNC_READ, FUSE_BIG_WRITES, FUSE_MAX_PAGES, FUSE_PARALLEL_DIROPS, FUSE_DO_READDIRPLUS,
        FUSE_EXPLICIT_INVAL_DATA, FUSE_CACHE_SYMLINKS, FUSE_HANDLE_KILLPRIV_V2, FUSE_INIT_EXT, FUSE_POSIX_ACL,
        FUSE_DONT_MASK, FUSE_SETXATTR_EXT}) {
    EXPECT_NE(out->flags & static_cast<std::uint32_t>(yes), 0U) << std::hex << yes;
  }
  for (const int no : {FUSE_ATOMIC_O_TRUNC, FUSE_READDIRPLUS_AUTO, FUSE_AUTO_INVAL_DATA, FUSE_WRITEBACK_CACHE,
                       FUSE_POSIX_LOCKS, FUSE_FLOCK_LOCKS, FUSE_EXPORT_SUPPORT, FUSE_HANDLE_KILLPRIV,
                       FUSE_MAP_ALIGNMENT, FUSE_SUBMOUNTS, FUSE_SPLICE_READ, FUSE_ASYNC_DIO}) {
    EXPECT_EQ(out->flags & static_cast<std::uint32_t>(no), 0U) << std::hex << no;
  }
  EXPECT_EQ(out->flags2, (kInitCreateSuppGroup | kInitDirectIoAllowMmap | kInitAllowIdmap) >> 32);
}

TEST_F(SessionTest, AgreesToNothingThatIsNotOffered) {
  const auto out = init(31, FUSE_ASYNC_READ, ~0U);
  ASSERT_TRUE(out);
  EXPECT_EQ(out->minor, 31U);
  EXPECT_EQ(out->flags, FUSE_ASYNC_READ);
  EXPECT_EQ(out->flags2, 0U) << "INIT_EXT was not offered";
  EXPECT_EQ(init(60)->minor, kMinor);
}

TEST_F(SessionTest, RefusesWhatIsTooOldAndAnswersWhatIsTooNew) {
  EXPECT_EQ(init(30).error().code, EPROTO);
  EXPECT_EQ(init(38, 0, 0, 6).error().code, EPROTO);
  EXPECT_FALSE(session.initialised());
  EXPECT_EQ(init(38, 0, 0, 8)->major, 7U);
  EXPECT_FALSE(session.initialised()) << "it will ask again";
  EXPECT_EQ(code(FUSE_GETATTR, 1, {}), EIO);
}

TEST_F(SessionTest, EveryInitWipesTheFormerGuest) {
  ASSERT_TRUE(init());
  const auto made =
      as<fuse_entry_out>(call(FUSE_MKDIR, 1, {object_bytes(fuse_mkdir_in{0755, 0}), with_nul("d")}));
  EXPECT_EQ(fs.references(made.nodeid), 1U);
  for (unsigned i = 2; i < 102; ++i) {  // a guest that is reset says no DESTROY
    ASSERT_TRUE(init());
    EXPECT_EQ(fs.resets(), i - 1) << "the first finds all as it was opened";
  }
  EXPECT_EQ(fs.references(made.nodeid), 0U);
  EXPECT_EQ(code(FUSE_DESTROY, 0, {}), 0);
  EXPECT_EQ(code(FUSE_GETATTR, 1, {}), EIO);
}

TEST_F(SessionTest, AnInitWaitsForAllThatTheFormerGuestHasAskedFor) {
  ASSERT_TRUE(init());
  const auto id = fs.add_file(1, "file", "late");
  fs.hold_reads();
  fuse_read_in read{};
  read.size = 100;
  TestExchange reading(encode(FUSE_READ, id, {object_bytes(read)}), 200);
  session.handle(*reactor, reading);
  ASSERT_EQ(fs.waiting_reads(), 1U);

  fuse_init_in in{};
  in.major = kMajor;
  in.minor = kMinor;
  std::array<std::unique_ptr<TestExchange>, 2> starting;
  for (auto& one : starting) {
    one = std::make_unique<TestExchange>(encode(FUSE_INIT, 0, {object_bytes(in)}), 200);
    session.handle(*reactor, *one);
    EXPECT_FALSE(one->completed());
  }
  EXPECT_EQ(fs.resets(), 0U) << "a request of the former guest is at work";
  EXPECT_EQ(code(FUSE_GETATTR, 1, {}), EIO) << "nor does another of its begin";
  EXPECT_EQ(call(FUSE_FORGET, 1, {object_bytes(fuse_forget_in{1})}).error().code, ENOMSG);

  std::thread other_queue([this] { fs.release_reads(); });
  other_queue.join();
  while (!starting[0]->completed() || !starting[1]->completed()) {
    reactor->stop();
    reactor->run();
  }
  EXPECT_EQ(as_text(*test::FuseClient::judge(reading.request(), reading.reply())), "late");
  EXPECT_EQ(fs.resets(), 2U);
  EXPECT_EQ(code(FUSE_GETATTR, 1, {}), 0);
}

class OpeningSessionTest : public SessionTest {
 protected:
  OpeningSessionTest() : SessionTest({.zero_message_open = false}) {}
};

TEST_F(OpeningSessionTest, AnswersEachOpenWithAllThatMayBeKept) {
  ASSERT_TRUE(init());
  for (int i = 0; i < 2; ++i) {
    const auto file = as<fuse_open_out>(call(FUSE_OPEN, 1, {object_bytes(fuse_open_in{})}));
    EXPECT_EQ(file.open_flags, static_cast<std::uint32_t>(FOPEN_KEEP_CACHE));
    const auto directory = as<fuse_open_out>(call(FUSE_OPENDIR, 1, {object_bytes(fuse_open_in{})}));
    EXPECT_EQ(directory.open_flags, static_cast<std::uint32_t>(FOPEN_KEEP_CACHE | FOPEN_CACHE_DIR));
  }
}

class WritebackSessionTest : public SessionTest {
 protected:
  WritebackSessionTest() : SessionTest({.writeback = true}) {}
};

TEST_F(WritebackSessionTest, LetsTheClientKeepWhatItWritesAndSeeNoHoles) {
  EXPECT_NE(init()->flags & FUSE_WRITEBACK_CACHE, 0U);
  const auto id = fs.add_file(1, "file", "hello");
  const fuse_lseek_in seek{.fh = 0, .offset = 0, .whence = SEEK_DATA, .padding = 0};
  EXPECT_EQ(code(FUSE_LSEEK, id, {object_bytes(seek)}), ENOSYS);
  ASSERT_TRUE(init(38, test::FuseClient::kEveryFlag & ~std::uint32_t{FUSE_WRITEBACK_CACHE}));
  EXPECT_EQ(code(FUSE_LSEEK, id, {object_bytes(seek)}), 0) << "a client that keeps nothing";
}

TEST_F(WritebackSessionTest, TimesThatAreKnownChangeNothing) {
  ASSERT_TRUE(init());
  const auto id = fs.add_file(1, "file", "hello");
  fuse_setattr_in in{};
  in.valid = FATTR_MTIME | FATTR_CTIME;
  in.mtime = 1000;
  in.mtimensec = 5;
  in.ctime = 2000;
  EXPECT_EQ(as<fuse_attr_out>(call(FUSE_SETATTR, id, {object_bytes(in)})).attr.mtime, 1000U);
  EXPECT_EQ(fs.attr_changes, 1U);
  in.valid |= FATTR_FH;
  EXPECT_EQ(as<fuse_attr_out>(call(FUSE_SETATTR, id, {object_bytes(in)})).attr.mtime, 1000U);
  EXPECT_EQ(fs.attr_changes, 1U) << "only the time of its change is new";
  in.valid |= FATTR_MODE;
  in.mode = 0600;
  EXPECT_EQ(as<fuse_attr_out>(call(FUSE_SETATTR, id, {object_bytes(in)})).attr.mode & 07777U, 0600U);
  in.valid = FATTR_MTIME | FATTR_CTIME;
  in.mtimensec = 6;
  EXPECT_EQ(as<fuse_attr_out>(call(FUSE_SETATTR, id, {object_bytes(in)})).attr.mtimensec, 6U);
  EXPECT_EQ(fs.attr_changes, 3U);
  EXPECT_EQ(code(FUSE_SETATTR, 4711, {object_bytes(in)}), ESTALE);
}

class SharedSessionTest : public SessionTest {
 protected:
  SharedSessionTest() : SessionTest({.shared = true}) {}
};

TEST_F(SharedSessionTest, FilesAreOpenedAndListingsAreNot) {
  EXPECT_EQ(init()->flags & (FUSE_NO_OPEN_SUPPORT | FUSE_NO_OPENDIR_SUPPORT),
            std::uint32_t{FUSE_NO_OPENDIR_SUPPORT});
  EXPECT_EQ(code(FUSE_OPEN, 1, {object_bytes(fuse_open_in{})}), 0);
  EXPECT_EQ(code(FUSE_OPEN, 1, {}), EINVAL);
}

class SharedWritebackSessionTest : public SessionTest {
 protected:
  SharedWritebackSessionTest() : SessionTest({.shared = true, .writeback = true}) {}
};

TEST_F(SharedWritebackSessionTest, WhatOthersChangeIsNotKept) {
  EXPECT_EQ(init()->flags & FUSE_WRITEBACK_CACHE, 0U);
}

}  // namespace
}  // namespace layerboot::vfsd::fuse
