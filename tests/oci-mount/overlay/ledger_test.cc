// What objects are charged, on hosts that keep books in different ways.
#include "oci-mount/overlay/ledger.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <string>

#include "oci-mount/base/unique_fd.h"
#include "tests/support/temp_dir.h"

namespace layerboot::overlay {
namespace {

constexpr std::uint64_t kBlock = 4096;

struct stat file(std::uint64_t blocks_of_4k, std::uint64_t size_bytes = 1U << 20U) {
  struct stat st{};
  st.st_mode = S_IFREG | 0644;
  st.st_nlink = 1;
  st.st_ino = 42;
  st.st_size = static_cast<off_t>(size_bytes);
  st.st_blocks = static_cast<blkcnt_t>(blocks_of_4k * 8);
  return st;
}
struct stat directory(std::uint64_t blocks_of_4k) {
  struct stat st = file(blocks_of_4k, blocks_of_4k * kBlock);
  st.st_mode = S_IFDIR | 0755;
  return st;
}

class LedgerTest : public testing::Test {
 protected:
  static constexpr Quota::Limits kLimits{.bytes = 1U << 20U, .inodes = 10};
  static constexpr Quota::Usage kBefore{.bytes = 100'000, .inodes = 5};

  Ledger make(HostKind kind) { return {Tariff(kind), kLimits, kBefore, fd_.get()}; }
  NodePtr node(std::uint32_t type) {
    NodePtr made = Node::make(memory_);
    made->id = kUpperIdBase + 42;
    made->host_ino = 42;
    made->type = type;
    return made;
  }
  /// A file of so many blocks that the host may still allocate more for leaves memory.
  void write_and_part(Ledger& ledger, std::uint64_t blocks_of_4k) {
    const NodePtr written = node(S_IFREG);
    ledger.charge(*written, file(blocks_of_4k));
    written->charge.grows_late = true;
    ledger.part(*written);
  }
  /// More than before the test.
  static std::int64_t grown(Ledger& ledger) {
    return static_cast<std::int64_t>(ledger.quota().usage().bytes) - static_cast<std::int64_t>(kBefore.bytes);
  }

  test::TempDir top_;
  UniqueFd fd_{::open(top_.path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
  MemoryBudget memory_;
};

TEST_F(LedgerTest, ChargesWhatTheTariffSaysOfWhatTheHostHasNow) {
  for (const HostKind kind :
       {HostKind::kExt4, HostKind::kXfs, HostKind::kBtrfs, HostKind::kTmpfs, HostKind::kOther}) {
    Ledger ledger = make(kind);
    const NodePtr made = node(S_IFREG);
    ledger.add_object();
    EXPECT_EQ(ledger.quota().usage().inodes, kBefore.inodes + 1);
    for (const std::uint64_t blocks : {1U, 5U, 5U, 9U}) {
      ledger.charge(*made, file(blocks));
      EXPECT_EQ(grown(ledger), static_cast<std::int64_t>(ledger.tariff().object(file(blocks))));
    }
    ledger.remove_object(*made);
    EXPECT_EQ(grown(ledger), 0);
    EXPECT_EQ(ledger.quota().usage().inodes, kBefore.inodes);
    ledger.charge(*made, file(0, 0));
    EXPECT_EQ(grown(ledger), static_cast<std::int64_t>(ledger.tariff().object(file(0, 0))))
        << "what was taken off is not taken off twice";
  }
}

TEST_F(LedgerTest, TheHostsKindIsAskedOfTheHost) {
  const Ledger ledger(tariff_of(fd_.get()), kLimits, kBefore, fd_.get());
  EXPECT_EQ(ledger.tariff().kind(), host_kind_of(fd_.get()));
}

TEST_F(LedgerTest, TwoBlocksOfTheRootAreFree) {
  Ledger ledger = make(HostKind::kExt4);
  const NodePtr root = node(S_IFDIR);
  root->id = kRootId;
  ledger.charge(*root, directory(2));
  EXPECT_EQ(grown(ledger), 0);
  ledger.charge(*root, directory(5));
  EXPECT_EQ(grown(ledger), 3 * 4096);
}

TEST_F(LedgerTest, ReservationsKeepToTheBudget) {
  Ledger ledger = make(HostKind::kExt4);
  const auto most = ledger.reserve(kLimits.bytes - kBefore.bytes, kLimits.inodes - kBefore.inodes);
  ASSERT_TRUE(most);
  EXPECT_EQ(ledger.reserve(1, 0).error().code, ENOSPC);
  EXPECT_EQ(ledger.reserve(0, 1).error().code, ENOSPC);
  EXPECT_TRUE(ledger.reserve(1, 1, Budget::kMakesRoom)) << "rm needs a whiteout";
}

TEST_F(LedgerTest, WhatIsMetAgainIsNotChargedTwice) {
  Ledger ledger = make(HostKind::kExt4);
  ledger.meet(*node(S_IFREG), file(7));
  EXPECT_EQ(grown(ledger), 0) << "the last count has it";
}

TEST_F(LedgerTest, GrowthThatComesLateIsBookedWhenTheFileIsMetAgain) {
  Ledger ledger = make(HostKind::kExt4);
  write_and_part(ledger, 7);
  const NodePtr again = node(S_IFREG);
  ledger.meet(*again, file(8));
  EXPECT_EQ(grown(ledger), 8 * 4096);
  EXPECT_TRUE(again->charge.grows_late) << "it may grow further";
  ledger.meet(*node(S_IFREG), file(9));
  EXPECT_EQ(grown(ledger), 8 * 4096) << "remembered once";
}

TEST_F(LedgerTest, WhatOutlivedItsSessionIsBookedWhereItStillHasAName) {
  Ledger ledger = make(HostKind::kExt4);
  EXPECT_TRUE(ledger.is_exact());
  const auto path = top_.path() / "file";
  const UniqueFd file(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644));
  ledger.miss(file.get(), 4096);
  EXPECT_EQ(grown(ledger), 4096);
  EXPECT_FALSE(ledger.is_exact());
  ASSERT_EQ(::unlink(path.c_str()), 0);
  ledger.miss(file.get(), 4096);
  EXPECT_EQ(grown(ledger), 4096) << "it goes with its descriptor";
  ledger.recount({.usage = kBefore, .moved_directories = {}}, Counted::kOnDisk);
  EXPECT_TRUE(ledger.is_exact());
}

TEST_F(LedgerTest, OnlyWhatMayGrowLateAndStandsIsRemembered) {
  Ledger ledger = make(HostKind::kExt4);
  const NodePtr settled = node(S_IFREG);
  ledger.part(*settled);
  const NodePtr gone = node(S_IFREG);
  gone->charge.grows_late = true;
  gone->standing = Standing::kGone;
  ledger.part(*gone);
  EXPECT_TRUE(ledger.late_files().empty());
}

TEST_F(LedgerTest, TheNextSessionIsToldOfFilesThatMayGrow) {
  Ledger ledger = make(HostKind::kExt4);
  write_and_part(ledger, 7);
  Ledger next = make(HostKind::kExt4);
  next.recall(ledger.late_files());
  const NodePtr again = node(S_IFREG);
  next.meet(*again, file(8));
  EXPECT_EQ(grown(next), 4096);
}

// What the host allocates for a file after such a count is booked by nobody, where nobody remembers the file.
TEST_F(LedgerTest, ACountThatDoesNotWaitForTheDiskLeavesForgottenFilesInDoubt) {
  Ledger ledger = make(HostKind::kExt4);
  const NodePtr written = node(S_IFREG);
  ledger.charge(*written, file(8));
  written->charge.grows_late = true;
  for (std::uint64_t ino = 1; ino <= LateGrowth::kMaxFiles + 1; ++ino) {
    written->host_ino = ino;
    ledger.part(*written);
  }
  ASSERT_FALSE(ledger.is_exact());
  ledger.recount({.usage = kBefore, .moved_directories = {}}, Counted::kAsShown);
  EXPECT_FALSE(ledger.is_exact());
  ledger.recount({.usage = kBefore, .moved_directories = {}}, Counted::kOnDisk);
  EXPECT_TRUE(ledger.is_exact());
}

// One that has no extent to be split grows by no write within it.
TEST_F(LedgerTest, AFileGrowsLateByEachChangeUnlessAllOfItIsWritten) {
  Ledger ledger = make(HostKind::kExt4);
  const NodePtr changed = node(S_IFREG);
  ledger.charge(*changed, file(7));
  changed->file.is_written = true;
  ledger.data_changed(*changed, DataChange::kInPlace);
  EXPECT_FALSE(changed->charge.is_listed);
  changed->file.forget_density();
  ledger.data_changed(*changed, DataChange::kInPlace);
  EXPECT_TRUE(ledger.keeps(*changed)) << "it may have unwritten extents";
  ledger.settled(*changed);
  EXPECT_FALSE(ledger.keeps(*changed));
  changed->file.is_written = true;
  ledger.data_changed(*changed, DataChange::kAny);
  EXPECT_TRUE(ledger.keeps(*changed));
}

// Leaving memory, being met again and being counted end nothing of it.
TEST_F(LedgerTest, WhatAFileMayGrowByCountsUntilItIsSettled) {
  Ledger ledger = make(HostKind::kExt4);
  const auto fill = [&] { return ledger.late_fill(); };
  const std::uint64_t most = LateFiles::most_bytes(kLimits.bytes);
  const std::uint64_t blocks = 250 * (most / 2 / (2 * kBlock));  // half of most_bytes(), and a block
  const NodePtr written = node(S_IFREG);
  ledger.charge(*written, file(blocks));
  ledger.data_changed(*written, DataChange::kAny);
  EXPECT_EQ(fill(), LateFiles::Fill::kMuch);
  ASSERT_EQ(ledger.take_late(), written);
  EXPECT_EQ(fill(), LateFiles::Fill::kMuch) << "at the host";
  ledger.list_again(*written);
  EXPECT_TRUE(ledger.keeps(*written)) << "it came to nothing";
  ledger.part(*written);
  EXPECT_EQ(fill(), LateFiles::Fill::kMuch) << "forgotten";
  EXPECT_TRUE(ledger.is_to_count_on_disk());
  ledger.recount(
      {.usage = kBefore, .moved_directories = {}, .late_files = {{42, {.charged_bytes = blocks * kBlock}}}},
      Counted::kAsShown);
  EXPECT_EQ(fill(), LateFiles::Fill::kMuch) << "counted as the host shows it";
  const NodePtr again = node(S_IFREG);
  ledger.meet(*again, file(blocks));
  EXPECT_EQ(fill(), LateFiles::Fill::kMuch) << "met again";
  EXPECT_FALSE(ledger.is_to_count_on_disk());
  ledger.part(*again);
  Ledger next = make(HostKind::kExt4);
  next.recall(ledger.late_files());
  EXPECT_EQ(next.late_fill(), LateFiles::Fill::kMuch) << "handed to the next session";
  ledger.recount({.usage = kBefore, .moved_directories = {}}, Counted::kOnDisk);
  EXPECT_EQ(fill(), LateFiles::Fill::kLittle);
}

TEST_F(LedgerTest, AFileThatOutlivedItsSessionMayGrowLate) {
  Ledger ledger = make(HostKind::kExt4);
  EXPECT_FALSE(ledger.is_to_count_on_disk());
  ledger.miss(fd_.get(), 4096);
  ledger.recount({.usage = kBefore, .moved_directories = {}}, Counted::kAsShown);
  EXPECT_TRUE(ledger.is_to_count_on_disk());
  EXPECT_FALSE(ledger.is_exact());
  ledger.recount({.usage = kBefore, .moved_directories = {}}, Counted::kOnDisk);
  EXPECT_FALSE(ledger.is_to_count_on_disk());
}

TEST_F(LedgerTest, ARecountForgetsWhatWasBooked) {
  Ledger ledger = make(HostKind::kExt4);
  const NodePtr written = node(S_IFREG);
  written->charge.grows_late = true;
  ledger.part(*written);
  ledger.recount({.usage = {.bytes = 7, .inodes = 1}, .moved_directories = {}}, Counted::kOnDisk);
  EXPECT_EQ(ledger.quota().usage().bytes, 7U);
  EXPECT_EQ(ledger.quota().usage().inodes, 1U);
  EXPECT_TRUE(ledger.late_files().empty());
}

TEST_F(LedgerTest, ADirectoryIsLookedAtOnceInTwoKibibytesOfNames) {
  Ledger ledger = make(HostKind::kExt4);
  const NodePtr made = node(S_IFDIR);
  const std::string name(100, 'n');
  int until = 1;
  while (!ledger.add_name(*made, name)) ++until;
  EXPECT_EQ(until, 21);
  EXPECT_TRUE(ledger.add_name(*made, name)) << "until it is charged";
  ledger.charge(*made, directory(1));
  EXPECT_FALSE(ledger.add_name(*made, name));
  EXPECT_EQ(grown(ledger), 4096) << "its blocks tell";
}

TEST_F(LedgerTest, NamesAreChargedAtOnceWhereBlocksDoNotTell) {
  Ledger ledger = make(HostKind::kBtrfs);
  const NodePtr made = node(S_IFDIR);
  ledger.charge(*made, directory(0));
  const auto before = grown(ledger);
  static_cast<void>(ledger.add_name(*made, "0123456789"));
  struct stat with_name = directory(0);
  with_name.st_size += 20;  // btrfs counts each byte twice
  EXPECT_EQ(grown(ledger), static_cast<std::int64_t>(ledger.tariff().object(with_name)));
  EXPECT_GT(grown(ledger), before);
  const auto charged = grown(ledger);
  ledger.charge(*made, with_name);
  EXPECT_EQ(grown(ledger), charged) << "a look comes to the same";
}

TEST_F(LedgerTest, WhiteoutsAreChargedByTheirNumber) {
  for (const HostKind kind : {HostKind::kExt4, HostKind::kBtrfs, HostKind::kTmpfs}) {
    Ledger ledger = make(kind);
    const auto each = static_cast<std::int64_t>(ledger.tariff().whiteout());
    ledger.change_whiteouts(0, 3);
    EXPECT_EQ(grown(ledger), 3 * each);
    ledger.change_whiteouts(1, 1);
    EXPECT_EQ(grown(ledger), 3 * each);
    ledger.change_whiteouts(3, 0);
    EXPECT_EQ(grown(ledger), 0);
  }
}

// XFS allocates beyond the end of a file that grows, and takes that back when nobody has it open any more.
TEST_F(LedgerTest, WhatTheHostTakesBackLaterIsGivenBackWhenTheFileIsMet) {
  Ledger ledger = make(HostKind::kXfs);
  const NodePtr written = node(S_IFREG);
  ledger.add_object();
  ledger.charge(*written, file(16, 4 * kBlock));
  EXPECT_TRUE(written->charge.is_ahead);
  ledger.part(*written);
  const NodePtr met = node(S_IFREG);
  ledger.meet(*met, file(4, 4 * kBlock));
  EXPECT_FALSE(met->charge.is_ahead);
  EXPECT_EQ(grown(ledger), static_cast<std::int64_t>(ledger.tariff().object(file(4))));
}

/// By the totals of a file with holes nobody sees it: it is looked at when nobody has it open any more.
TEST_F(LedgerTest, AFileWithHolesMayHaveBlocksAhead) {
  Ledger ledger = make(HostKind::kXfs);
  const NodePtr sparse = node(S_IFREG);
  ledger.add_object();
  sparse->id = kUpperIdBase;
  ledger.charge(*sparse, file(16, 400 * kBlock));
  EXPECT_TRUE(sparse->charge.is_ahead);
  EXPECT_EQ(ledger.ahead_bytes(), 16U * kBlock) << "it may be all of it";
  ledger.charge(*sparse, file(17, 400 * kBlock), 8 * kBlock);
  EXPECT_EQ(ledger.ahead_bytes(), 8U * kBlock) << "the host has said";
  ledger.charge(*sparse, file(17, 400 * kBlock));
  EXPECT_EQ(ledger.ahead_bytes(), 8U * kBlock) << "nothing has changed since";
  ledger.charge(*sparse, file(18, 400 * kBlock));
  EXPECT_EQ(ledger.ahead_bytes(), 18U * kBlock) << "that was another time";
  ledger.charge(*sparse, file(18, 400 * kBlock), 8 * kBlock);
  EXPECT_TRUE(ledger.take_ahead().contains(sparse->id));
  ledger.part(*sparse);
  EXPECT_EQ(ledger.ahead_bytes(), 0U);
  EXPECT_EQ(ledger.late_growth().all().size(), 1U) << "the host may take it back later";
}

/// A file of 32 blocks with a hole of as many as lie ahead of it looks dense.
TEST_F(LedgerTest, AHoleHidesNothingThatIsAhead) {
  Ledger ledger = make(HostKind::kXfs);
  const NodePtr sparse = node(S_IFREG);
  ledger.add_object();
  sparse->id = kUpperIdBase;
  ledger.charge(*sparse, file(1, 17 * kBlock));
  ledger.charge(*sparse, file(32, 32 * kBlock));
  EXPECT_TRUE(sparse->charge.is_ahead);
  EXPECT_EQ(ledger.ahead_bytes(), 32U * kBlock);
  ledger.charge(*sparse, file(40, 32 * kBlock), 24 * kBlock);
  EXPECT_EQ(ledger.ahead_bytes(), 24U * kBlock) << "more than its totals show";
  ledger.charge(*sparse, file(0, 0));
  ledger.charge(*sparse, file(4, 3 * kBlock));
  EXPECT_EQ(ledger.ahead_bytes(), kBlock) << "empty, it was another file";
}

/// Nothing is ahead of a file that nobody remembers, whatever its holes.
TEST_F(LedgerTest, AFileThatACountHasMetHasNothingAheadButWhatItToldOf) {
  Ledger ledger = make(HostKind::kXfs);
  const NodePtr sparse = node(S_IFREG);
  ledger.meet(*sparse, file(16, 400 * kBlock));
  EXPECT_FALSE(sparse->charge.is_ahead);
  const std::uint64_t before = ledger.tariff().object(file(32));
  ledger.recount({.usage = {.bytes = before, .inodes = 1},
                  .moved_directories = {},
                  .late_files = {{7, {.charged_bytes = before, .later = Later::kShrinks}}}},
                 Counted::kOnDisk);
  const NodePtr met = node(S_IFREG);
  struct stat st = file(16, 16 * kBlock);
  st.st_ino = 7;
  ledger.meet(*met, st);
  EXPECT_EQ(ledger.quota().usage().bytes, ledger.tariff().object(file(16))) << "the host took it back";
}

/// Many of them are no more than that in another session either: nobody waits for what comes late of them.
TEST_F(LedgerTest, WhatTheHostMayTakeBackDoesNotGrowLate) {
  Ledger ledger = make(HostKind::kXfs);
  const NodePtr sparse = node(S_IFREG);
  ledger.add_object();
  ledger.charge(*sparse, file(16, 400 * kBlock));
  ledger.part(*sparse);
  const auto noted = ledger.late_files();
  ASSERT_EQ(noted.size(), 1U);
  EXPECT_EQ(noted.begin()->second.later, Later::kShrinks);
  Ledger next = make(HostKind::kXfs);
  next.recall(noted);
  EXPECT_EQ(next.late_growth().late_bytes(), 0U);
  EXPECT_FALSE(next.late_growth().has_uncounted());
  const NodePtr met = node(S_IFREG);
  next.meet(*met, file(16, 400 * kBlock));
  EXPECT_FALSE(met->charge.grows_late);
  EXPECT_EQ(next.take_late(), nullptr);
}

TEST_F(LedgerTest, OtherHostsTakeNothingBack) {
  Ledger ledger = make(HostKind::kExt4);
  const NodePtr preallocated = node(S_IFREG);
  ledger.charge(*preallocated, file(16, 4 * kBlock));
  EXPECT_FALSE(preallocated->charge.is_ahead);
  ledger.part(*preallocated);
  EXPECT_TRUE(ledger.late_growth().all().empty());
}

TEST_F(LedgerTest, WhatIsCutOffStaysChargedWhereTheHostKeepsIt) {
  Ledger ledger = make(HostKind::kBtrfs);
  const NodePtr made = node(S_IFREG);
  ledger.charge(*made, file(100));
  const auto whole = grown(ledger);
  ledger.charge(*made, file(1));
  EXPECT_GE(grown(ledger), whole) << "one byte of the extent is left";
  ledger.charge(*made, file(50));
  EXPECT_GT(grown(ledger), whole) << "what it grows by comes on top";
  made->host_ino = 7;
  ledger.part(*made);
  EXPECT_EQ(ledger.kept_files().size(), 1U);
  Ledger next = make(HostKind::kBtrfs);
  next.recall(ledger.late_files());
  const NodePtr met = node(S_IFREG);
  struct stat st = file(50);
  st.st_ino = 7;
  next.meet(*met, st);
  EXPECT_EQ(grown(next), 0) << "it is booked with that already";
  next.charge(*met, file(0, 0));
  EXPECT_LT(grown(next), 0) << "empty, it has nothing";
  ledger.charge(*made, file(0, 1000));
  EXPECT_GT(grown(ledger), whole) << "a hole is no empty file";
  ledger.charge(*made, file(0, 0));
  EXPECT_EQ(grown(ledger), static_cast<std::int64_t>(ledger.tariff().object(file(0, 0))));
  Ledger ext4 = make(HostKind::kExt4);
  const NodePtr other = node(S_IFREG);
  ext4.charge(*other, file(100));
  ext4.charge(*other, file(1));
  EXPECT_EQ(grown(ext4), 4096);
}

/// Of which nothing on the host tells; in this session and in those to come.
TEST_F(LedgerTest, WhatIsKeptOfForgottenFilesIsInEachCount) {
  Ledger ledger = make(HostKind::kBtrfs);
  CleanStop stop;
  stop.is_counted = false;
  stop.forgotten_kept_bytes = 100 * kBlock;
  stop.late_files[5] = {.charged_bytes = 4 * kBlock, .kept_bytes = kBlock, .later = Later::kShrinks};
  ledger.recall(stop);
  EXPECT_TRUE(ledger.late_files().empty()) << "the count tells of them";
  for (const Counted counted : {Counted::kOnDisk, Counted::kAsShown, Counted::kOnDisk}) {
    Survey survey{.usage = {.bytes = kBlock, .inodes = 1}, .moved_directories = {}};
    ledger.recount(survey, counted);
    EXPECT_EQ(ledger.quota().usage().bytes, kBlock + ledger.tariff().for_data(100 * kBlock));
  }
  EXPECT_EQ(ledger.late_growth().forgotten_kept_bytes(), 100 * kBlock);
}

/// As a journal is cut to its limit: what has come behind that since lies in extents of its own.
TEST_F(LedgerTest, WhatIsCutOffAgainIsChargedOnce) {
  Ledger ledger = make(HostKind::kBtrfs);
  const NodePtr made = node(S_IFREG);
  const auto cut = [&](const struct stat& st, bool is_on_disk) {
    Ledger::note_cut(*made, st, is_on_disk);
    ledger.charge(*made, st);
  };
  const auto fill_and_cut = [&](std::uint64_t blocks) {
    ledger.charge(*made, file(100, 100 * kBlock));
    cut(file(blocks, blocks * kBlock), true);
    return made->charge.kept_bytes;
  };
  EXPECT_EQ(fill_and_cut(10), 90 * kBlock);
  EXPECT_EQ(fill_and_cut(10), 90 * kBlock);
  EXPECT_EQ(fill_and_cut(4), 96 * kBlock) << "six blocks more may be kept";
  EXPECT_EQ(fill_and_cut(5), 191 * kBlock) << "a block behind the last cut may keep all of its extent";
  ledger.charge(*made, file(100, 100 * kBlock));
  cut(file(2, 5 * kBlock), true);
  EXPECT_EQ(made->charge.kept_from, kNeverCut) << "an extent may be put into the hole";
  cut(file(5, 5 * kBlock), false);
  EXPECT_EQ(made->charge.kept_from, kNeverCut) << "what is not on the disk may share an extent";
  ledger.charge(*made, file(2, 5 * kBlock));
  const std::uint64_t before = made->charge.kept_bytes;
  Ledger::note_replaced(*made, file(5, 5 * kBlock), 4 * kBlock);
  ledger.charge(*made, file(5, 5 * kBlock));
  EXPECT_EQ(made->charge.kept_bytes, before + kBlock) << "of four blocks three are new";
  fill_and_cut(0);
  EXPECT_EQ(made->charge.kept_bytes, 0U);
}

/// A write of theirs shows as a cut that keeps less.
TEST_F(LedgerTest, BesideRequestsOfAFormerSessionAllThatMayBeKeptIsCharged) {
  Ledger ledger = make(HostKind::kBtrfs);
  const NodePtr made = node(S_IFREG);
  const auto cut = [&] {
    ledger.charge(*made, file(100, 100 * kBlock));
    const std::uint64_t before = made->charge.kept_bytes;
    ledger.expect_kept(*made, 100 * kBlock);
    const auto st = file(100, 10 * kBlock);  // ninety blocks were written meanwhile
    Ledger::charge_kept_whole(*made);
    made->file.may_keep_bytes = 0;
    made->file.is_kept_whole = false;
    Ledger::note_cut(*made, st, true);
    ledger.charge(*made, st);
    return made->charge.kept_bytes - before;
  };
  EXPECT_EQ(cut(), 0U);
  ledger.change_outliving(1);
  EXPECT_EQ(cut(), 100 * kBlock);
  ledger.change_outliving(-1);
  EXPECT_EQ(cut(), 0U);
}

TEST_F(LedgerTest, AttributesAreChargedWhereBlocksDoNotTell) {
  const UniqueFd object = *create_regular_at({fd_.get(), "file"}, 0600);
  const Place place{object.get(), ""};
  const auto set = set_xattr_at(place, "user.large", std::string(500, 'v'), 0);
  if (!set) GTEST_SKIP() << "the host keeps no attributes: " << set.error().describe();
  for (const HostKind kind : {HostKind::kExt4, HostKind::kOther}) {
    Ledger ledger = make(kind);
    const NodePtr made = node(S_IFREG);
    ASSERT_TRUE(ledger.count_attributes(*made, place));
    ledger.charge(*made, file(1));
    EXPECT_EQ(grown(ledger), static_cast<std::int64_t>(ledger.tariff().object(file(1)) +
                                                       ledger.tariff().attribute("user.large", 500)));
  }
  Ledger ledger = make(HostKind::kOther);
  EXPECT_EQ(ledger.count_attributes(*node(S_IFREG), {fd_.get(), "none"}).error().code, ENOENT);
}

}  // namespace
}  // namespace layerboot::overlay
