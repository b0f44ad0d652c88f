// What may take the host long does not keep other requests waiting.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <thread>

#include "tests/oci-mount/vfs/writable_fixture.h"
#include "tests/support/host_calls.h"

namespace layerboot::test {
namespace {

std::vector<std::string> image_with_long_link() {
  auto tars = test_image();
  tars.push_back(TarBuilder()
                     .directory("etc")
                     .symlink("etc/far", std::string(2000, 'f'))
                     .directory("linked")
                     .file("linked/first", "first")
                     .directory("linked too")
                     .hard_link("linked too/second", "linked/first")
                     .finish());
  return tars;
}

class BesideOthersTest : public WritableFsTest {
 protected:
  BesideOthersTest() : WritableFsTest(image_with_long_link()) {}
  void SetUp() override {
    WritableFsTest::SetUp();
    ASSERT_EQ(drive().create("other", ""), 0);
    open_again();
  }
  /// As at a new start: no directory has been read.
  void open_again() {
    restart();
    hold_other();
  }
  void hold_other() { other_ = drive().acquire("other"); }
  /// Of another queue, and of the upper: it takes the lock.
  std::function<void()> other_request() {
    return [this] { EXPECT_TRUE(fs->getattr(other_)); };
  }
  /// How often the act does that, the others being answered each time.
  void expect_no_wait(HostCall call, const std::function<void()>& act) {
    const RequestsMeanwhile meanwhile(call, other_request());
    act();
    EXPECT_GT(meanwhile.calls(), 0) << "the host was not asked";
    EXPECT_EQ(meanwhile.made_others_wait(), 0);
  }
  /// In a directory that the session has not read yet.
  void make_files(const std::string& in, int count) {
    for (int i = 0; i < count; ++i) ASSERT_EQ(drive().create(in + "/f" + std::to_string(i), ""), 0);
    open_again();
  }

  std::string read_link(std::string_view path) {
    const auto node = drive().acquire(path);
    auto target = fs->readlink(node);
    drive().release(node);
    return target ? *target : "error: " + target.error().describe();
  }

 private:
  vfs::NodeId other_ = 0;
};

TEST_F(BesideOthersTest, ALookupReadsADirectory) {
  ASSERT_EQ(drive().mkdir("many"), 0);
  make_files("many", 10);
  const auto many = drive().acquire("many");
  expect_no_wait(HostCall::kReadDirectory, [&] {
    const auto found = fs->lookup(many, "f3");
    EXPECT_TRUE(found && found->id != 0);
  });
}

TEST_F(BesideOthersTest, AListingReadsADirectory) {
  make_files("empty", 10);
  const auto many = drive().acquire("empty");
  expect_no_wait(HostCall::kReadDirectory, [&] {
    int names = 0;
    EXPECT_TRUE(
        fs->readdir(many, 0, true, [&](const vfs::Dirent&, const vfs::Entry&) { return ++names > 0; }));
    EXPECT_EQ(names, 2 + 10);
  });
}

TEST_F(BesideOthersTest, ChangesOfNamesReadADirectory) {
  const std::vector<std::pair<std::string, std::function<int(vfs::NodeId)>>> changes = {
      {"create", [&](vfs::NodeId in) { return code_of(fs->create(in, "new", 0644, true, {})); }},
      {"mkdir", [&](vfs::NodeId in) { return code_of(fs->mkdir(in, "new directory", 0755, {})); }},
      {"unlink", [&](vfs::NodeId in) { return code_of(fs->unlink(in, "f1")); }},
      {"rename",
       [&](vfs::NodeId in) {
         return code_of(wait(fs->rename(*drive().reactor, in, "f2", vfs::kRootId, "moved", 0)));
       }},
      {"rename to it", [&](vfs::NodeId in) {
         return code_of(wait(fs->rename(*drive().reactor, vfs::kRootId, "moved", in, "moved", 0)));
       }}};
  make_files("empty", 10);
  for (const auto& [name, change] : changes) {
    SCOPED_TRACE(name);
    open_again();
    const auto in = drive().acquire("empty");
    expect_no_wait(HostCall::kReadDirectory, [&] { EXPECT_EQ(change(in), 0); });
  }
}

TEST_F(BesideOthersTest, ALinkReadsADirectory) {
  make_files("empty", 10);
  const auto in = drive().acquire("empty");
  const auto file = drive().acquire("other");
  expect_no_wait(HostCall::kReadDirectory,
                 [&] { EXPECT_TRUE(wait(fs->link(*drive().reactor, file, in, "another name"))); });
}

/// A host answers that when no other write to the file is under way.
TEST_F(BesideOthersTest, WritesToAFileWithHolesAskForNoExtents) {
  const auto file = fs->create(vfs::kRootId, "sparse", 0644, true, {});
  ASSERT_TRUE(file);
  constexpr std::uint64_t kPieceBytes = 64U << 10;
  const RequestsMeanwhile meanwhile(HostCall::kExtents, other_request());
  for (std::uint64_t i = 0; i < 100; ++i)
    ASSERT_EQ(write_node(file->id, (1U << 22) + i * kPieceBytes, std::string(kPieceBytes, 's')), 0);
  EXPECT_EQ(meanwhile.calls(), 0);
}

/// By the name that a file gets while it is synced nobody has waited: the next fdatasync(2) does.
TEST_F(BesideOthersTest, WhatIsNamedWhileItIsSyncedIsSyncedWholeAgain) {
  const auto file = fs->tmpfile(vfs::kRootId, 0644, {});
  ASSERT_TRUE(file);
  const auto reactor = *Reactor::create(IoEngine::kEpoll);  // who calls fsync(2)
  const auto syncs = [&](HostCall by, const std::function<void()>& request) {
    const RequestsMeanwhile meanwhile(by, request);
    EXPECT_TRUE(reactor->block_on(fs->fsync(*reactor, file->id, true)));
    return meanwhile.calls();
  };
  const auto name_it = [&] {
    FsDriver other(*fs);
    EXPECT_TRUE(other.reactor->block_on(fs->link(*other.reactor, file->id, vfs::kRootId, "named")));
  };
  ASSERT_EQ(syncs(HostCall::kFdatasync, name_it), 1);
  EXPECT_EQ(syncs(HostCall::kFsync, [] {}), 1) << "of the name";
  EXPECT_EQ(syncs(HostCall::kFdatasync, [] {}), 1) << "of data alone";
}

// At the memory limit, which a large directory meets in the end: it is not read once more under the lock.
TEST_F(BesideOthersTest, NobodyWaitsForADirectoryThatThereIsNoMemoryFor) {
  const std::vector<std::pair<std::string, std::function<int(vfs::NodeId)>>> requests = {
      {"lookup", [&](vfs::NodeId in) { return code_of(fs->lookup(in, "f3")); }},
      {"readdir",
       [&](vfs::NodeId in) {
         return code_of(fs->readdir(in, 0, true, [](const vfs::Dirent&, const vfs::Entry&) { return true; }));
       }},
      {"create", [&](vfs::NodeId in) { return code_of(fs->create(in, "new", 0644, true, {})); }},
      {"unlink", [&](vfs::NodeId in) { return code_of(fs->unlink(in, "f1")); }},
      {"rmdir", [&](vfs::NodeId) { return code_of(fs->rmdir(vfs::kRootId, "many")); }},
      {"link",
       [&](vfs::NodeId in) { return code_of(wait(fs->link(*drive().reactor, vfs::kRootId, in, "new"))); }},
      {"rename",
       [&](vfs::NodeId in) {
         return code_of(wait(fs->rename(*drive().reactor, in, "f2", vfs::kRootId, "moved", 0)));
       }},
      {"rename to it",
       [&](vfs::NodeId in) {
         return code_of(wait(fs->rename(*drive().reactor, vfs::kRootId, "other", in, "moved", 0)));
       }},
      {"rename over it", [&](vfs::NodeId) {
         return code_of(wait(fs->rename(*drive().reactor, vfs::kRootId, "empty", vfs::kRootId, "many", 0)));
       }}};
  ASSERT_EQ(drive().mkdir("many"), 0);
  make_files("many", 10);
  const auto many = drive().acquire("many");
  const std::uint64_t taken = take_all_memory();
  for (const auto& [name, request] : requests) {
    SCOPED_TRACE(name);
    const RequestsMeanwhile meanwhile(HostCall::kReadDirectory, other_request());
    EXPECT_EQ(request(many), ENOMEM);
    EXPECT_EQ(meanwhile.made_others_wait(), 0);
  }
  source->memory.give_back(taken);
  drive().release(many);
}

TEST_F(BesideOthersTest, DirectoriesThatGoOrAreReplacedAreReadFirst) {
  ASSERT_EQ(drive().mkdir("one"), 0);
  ASSERT_EQ(drive().mkdir("from"), 0);
  make_files("empty", 10);
  const auto one = drive().acquire("one");
  expect_no_wait(HostCall::kReadDirectory, [&] { EXPECT_TRUE(fs->rmdir(vfs::kRootId, "one")); });
  drive().release(one);
  const auto many = drive().acquire("empty");
  const auto from = drive().acquire("from");
  expect_no_wait(HostCall::kReadDirectory, [&] {
    EXPECT_EQ(code_of(wait(fs->rename(*drive().reactor, vfs::kRootId, "from", vfs::kRootId, "empty", 0))),
              ENOTEMPTY);
  });
  drive().release(many);
  drive().release(from);
}

TEST_F(BesideOthersTest, ACopyUpReadsTheDirectoriesOfAllNames) {
  ASSERT_EQ(drive().create("linked/own", ""), 0);
  make_files("linked too", 10);
  // After a stop in order, a start reads no directory for names that are lost.
  driver.reset();
  ASSERT_TRUE(fs->stop());
  open_again();
  const auto first = drive().acquire("linked/first");
  vfs::AttrChange change;
  change.mode = 0600;
  expect_no_wait(HostCall::kReadDirectory,
                 [&] { EXPECT_TRUE(wait(fs->setattr(*drive().reactor, first, change))); });
  EXPECT_EQ(drive().attr("linked too/second").mode & 07777U, 0600U);
}

// The host may have as many extents to look at as a file has blocks.
TEST_F(BesideOthersTest, AWriteAsksForHoles) {
  ASSERT_EQ(drive().create("written", std::string(100'000, 'a')), 0);
  const auto node = drive().acquire("written");
  ASSERT_TRUE(wait(fs->fsync(*drive().reactor, node, false)));
  char byte = 'b';
  const iovec piece{&byte, 1};
  expect_no_wait(HostCall::kSeek, [&] {
    EXPECT_EQ(fs->try_write(node, 5000, {&piece, 1}, vfs::Writer::kPrivileged).value_or(-1), 1);
  });
  ASSERT_TRUE(wait(fs->fallocate(*drive().reactor, node, FALLOC_FL_KEEP_SIZE, 0, 1)));
  expect_no_wait(HostCall::kSeek, [&] {
    EXPECT_EQ(
        wait(fs->write(*drive().reactor, node, 6000, {&piece, 1}, vfs::Writer::kPrivileged)).value_or(0), 1U);
  });
  const RequestsMeanwhile meanwhile(HostCall::kSeek, other_request());
  EXPECT_EQ(fs->try_write(node, 7000, {&piece, 1}, vfs::Writer::kPrivileged).value_or(-1), 1);
  EXPECT_EQ(meanwhile.calls(), 0) << "the host is asked once";
}

// One that others punch a hole into while the host is asked has one, whatever it answers.
TEST_F(BesideOthersTest, AHoleThatIsMadeMeanwhileCounts) {
  ASSERT_EQ(drive().create("written", std::string(100'000, 'a')), 0);
  const auto node = drive().acquire("written");
  ASSERT_TRUE(wait(fs->fsync(*drive().reactor, node, false)));
  char byte = 'b';
  const iovec piece{&byte, 1};
  {
    const RequestsMeanwhile meanwhile(HostCall::kSeek, [&] {
      const auto reactor = *Reactor::create();
      EXPECT_TRUE(reactor->block_on(
          fs->fallocate(*reactor, node, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 8192, 8192)));
    });
    EXPECT_EQ(fs->try_write(node, 100, {&piece, 1}, vfs::Writer::kPrivileged).value_or(-1), 1);
    EXPECT_EQ(meanwhile.calls(), 1);
    EXPECT_EQ(meanwhile.made_others_wait(), 0);
  }
  // Booked as what it takes: the hole's blocks are allocated again (expect_usage_agrees()).
  const std::string all(8192, 'c');
  EXPECT_EQ(write_node(node, 8192, all), 0);
}

// A file may have as many extents as blocks, and a host without FIEMAP looks through all of the file.
TEST_F(BesideOthersTest, WhoHasNoRoomAsksWhatIsAllocated) {
  constexpr std::uint64_t kBudgetBytes = 4U << 20;
  constexpr std::uint64_t kHasBytes = 1U << 20;
  open_writable(kBudgetBytes, kTestQuotaInodes);
  ASSERT_EQ(drive().create("sparse", std::string(kHasBytes, 'a')), 0);
  const auto node = drive().acquire("sparse");
  vfs::AttrChange longer;
  longer.size_bytes = 2 * kBudgetBytes;
  ASSERT_TRUE(wait(fs->setattr(*drive().reactor, node, longer)));
  ASSERT_TRUE(wait(fs->fsync(*drive().reactor, node, false)));
  ASSERT_EQ(drive().create("filler", ""), 0);
  const auto filler = drive().acquire("filler");
  for (std::uint64_t at = 0, piece = 256U << 10; piece >= 4096; piece /= 2) {
    while (write_node(filler, at, std::string(piece, 'f')) == 0) at += piece;
  }
  hold_other();
  const std::string bytes(20'000, 'b');
  const auto write = [&] { EXPECT_EQ(write_node(node, 5000, bytes), 0); };
  const auto try_write = [&] {
    const iovec piece{const_cast<char*>(bytes.data()), bytes.size()};
    EXPECT_EQ(fs->try_write(node, 9000, {&piece, 1}, vfs::Writer::kPrivileged).value_or(-1),
              static_cast<std::int64_t>(bytes.size()));
  };
  const auto allocate = [&] { EXPECT_TRUE(wait(fs->fallocate(*drive().reactor, node, 0, 0, kHasBytes))); };
  for (const auto& act :
       {std::function<void()>(write), std::function<void()>(try_write), std::function<void()>(allocate)}) {
    expect_no_wait(HostCall::kExtents, act);
    const WithoutExtents as_tmpfs;
    expect_no_wait(HostCall::kSeek, act);
  }
  EXPECT_EQ(write_node(node, kHasBytes, bytes), ENOSPC) << "a hole";
  restart();
}

/// All in one request of a client that takes all.
TEST_F(BesideOthersTest, OthersAreAnsweredWhileALargeDirectoryIsListed) {
  constexpr int kFiles = 2000;
  constexpr int kMostListings = 500;
  ASSERT_EQ(drive().mkdir("many"), 0);
  make_files("many", kFiles);
  const auto many = drive().acquire("many");
  const auto request = other_request();
  std::atomic<bool> ends = false;
  std::atomic<int> answered = 0;
  std::thread other([&] {
    while (!ends) {
      request();
      ++answered;
    }
  });
  bool was_answered = false;
  for (int i = 0; i < kMostListings && !was_answered; ++i) {
    int names = 0;
    int at_first = 0;
    int at_last = 0;
    EXPECT_TRUE(fs->readdir(many, 0, false, [&](const vfs::Dirent&, const vfs::Entry&) {
      if (names++ == 0) at_first = answered;
      at_last = answered;
      return true;
    }));
    EXPECT_EQ(names, kFiles + 2);
    // The answer to a request that had the lock before may come after the first name.
    was_answered = at_last > at_first + 1;
  }
  ends = true;
  other.join();
  EXPECT_TRUE(was_answered);
  drive().release(many);
}

class RecordedBesideOthersTest : public BesideOthersTest {
 protected:
  RecordedBesideOthersTest() { record_owners = true; }
};

TEST_F(RecordedBesideOthersTest, ALongTargetIsSynced) {
  const std::string target(3000, 't');
  expect_no_wait(HostCall::kFsync, [&] { EXPECT_TRUE(fs->symlink(vfs::kRootId, "long", target, {})); });
  {
    const RequestsMeanwhile meanwhile(HostCall::kFsync, other_request());
    EXPECT_EQ(code_of(fs->symlink(vfs::kRootId, "long", target, {})), EEXIST);
    EXPECT_EQ(code_of(fs->symlink(vfs::kRootId, "none", std::string(5000, 't'), {})), ENAMETOOLONG);
    EXPECT_TRUE(fs->symlink(vfs::kRootId, "short", "target", {}));
    EXPECT_EQ(meanwhile.calls(), 0) << "for what is no new target there is nothing to wait for";
  }
  EXPECT_TRUE(std::filesystem::is_empty(directory / "vm/work"));
  restart();
  EXPECT_EQ(read_link("long"), target);
}

// By the ring, which this does not see; what is seen is none that keeps others waiting.
TEST_F(RecordedBesideOthersTest, ALongTargetOfTheImageIsCopied) {
  const auto before = drive().attr("etc/far");
  {
    const RequestsMeanwhile meanwhile(HostCall::kFsync, other_request());
    vfs::AttrChange change;
    change.uid = 1000;
    EXPECT_EQ(drive().setattr("etc/far", change), 0);
    EXPECT_EQ(meanwhile.made_others_wait(), 0);
  }
  EXPECT_EQ(drive().rename("etc/far", "moved"), 0);
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ(read_link("moved"), std::string(2000, 'f'));
    EXPECT_EQ(drive().attr("moved").ino, before.ino);
    EXPECT_EQ(drive().attr("moved").size_bytes, 2000U);
    EXPECT_EQ(drive().attr("moved").uid, 1000U);
    EXPECT_EQ(drive().attr("moved").mtime, before.mtime);
    restart();
  }
  EXPECT_TRUE(std::filesystem::is_empty(directory / "vm/work"));
}

}  // namespace
}  // namespace layerboot::test
