// What SYNCFS of a shared directory asks of the host.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <functional>
#include <vector>

#include "oci-mount/vfs/share_fs.h"
#include "tests/oci-mount/vfs/fs_driver.h"
#include "tests/support/host_steps.h"
#include "tests/support/temp_dir.h"

namespace layerboot::test {
namespace {

struct Syncs {
  long objects = 0;
  long file_systems = 0;
  friend bool operator==(const Syncs&, const Syncs&) = default;
};

void PrintTo(const Syncs& syncs, std::ostream* out) {
  *out << syncs.objects << " objects, " << syncs.file_systems << " file systems";
}

class ShareSyncTest : public testing::Test {
 protected:
  void SetUp() override { std::ofstream(dir_ / "theirs") << "of others"; }

  /// What the SYNCFS asks for that follows what `change` does to the directory.
  Syncs syncs_after(const std::function<std::string(FsDriver&)>& change) {
    std::vector<int> calls;
    const auto said = run_in_steps(
        [&](StepMarks& marks) -> std::string {
          ::umask(0);
          MemoryBudget memory;
          WorkerPool workers(1);
          auto share = vfs::ShareFs::open({.directory = dir_.path()}, workers, memory);
          if (!share) return share.error().describe();
          FsDriver drive(**share);
          if (std::string complaint = change(drive); !complaint.empty()) return complaint;
          marks.begin();
          const auto synced = drive.reactor->block_on((*share)->syncfs(*drive.reactor));
          marks.end();
          return synced ? "" : synced.error().describe();
        },
        [&](const HostStep& step) {
          calls.push_back(step.call);
          return 0;
        });
    EXPECT_EQ(said.value_or("not watched"), "");
    return {std::ranges::count(calls, SYS_fsync), std::ranges::count(calls, SYS_syncfs)};
  }

  const TempDir dir_;
};

std::string outcome(std::initializer_list<int> codes) {
  for (const int code : codes) {
    if (code != 0) return "error " + std::to_string(code);
  }
  return {};
}

TEST_F(ShareSyncTest, IsOfWhatTheClientHasChanged) {
  EXPECT_EQ(
      syncs_after([](FsDriver& drive) { return drive.read("theirs") == "of others" ? "" : "not read"; }),
      (Syncs{0, 0}));
  EXPECT_EQ(syncs_after([](FsDriver& drive) {
              return outcome({drive.mkdir("d"), drive.create("d/a", "1"), drive.write("theirs", 0, "O")});
            }),
            (Syncs{4, 0}))
      << "the top, the directory, the new file, and the one that was written to";
  EXPECT_EQ(syncs_after([](FsDriver& drive) { return outcome({drive.rename("d/a", "a")}); }), (Syncs{2, 0}));
}

TEST_F(ShareSyncTest, IsOfNothingTwice) {
  EXPECT_EQ(syncs_after([](FsDriver& drive) {
              const int made = drive.create("a", "1");
              const auto synced = drive.reactor->block_on(drive.fs.syncfs(*drive.reactor));
              return synced ? outcome({made}) : "not synced";
            }),
            (Syncs{0, 0}));
}

TEST_F(ShareSyncTest, IsNotOfWhatIsGone) {
  EXPECT_EQ(syncs_after([](FsDriver& drive) { return outcome({drive.create("a", "1"), drive.unlink("a")}); }),
            (Syncs{1, 0}))
      << "the directory alone";
  EXPECT_EQ(syncs_after([&](FsDriver& drive) {
              const int made = drive.create("a", "1");
              std::filesystem::remove(dir_ / "a");
              return outcome({made});
            }),
            (Syncs{1, 0}));
}

TEST_F(ShareSyncTest, IsOfAFileThatHasLostOneOfItsNames) {
  EXPECT_EQ(syncs_after([&](FsDriver& drive) -> std::string {
              const int made = drive.create("a", "1");
              std::filesystem::create_hard_link(dir_ / "a", dir_ / "b");
              const auto node = drive.acquire("a");
              const int gone = drive.unlink("a");
              const auto before = drive.reactor->block_on(drive.fs.syncfs(*drive.reactor));
              const std::string more = "2";
              const iovec piece{const_cast<char*>(more.data()), more.size()};
              const auto put = drive.reactor->block_on(
                  drive.fs.write(*drive.reactor, node, 1, {&piece, 1}, vfs::Writer::kPrivileged));
              return before && put ? outcome({made, gone}) : "not done";
            }),
            (Syncs{1, 0}));
}

TEST_F(ShareSyncTest, IsOfTheWholeWhereThereIsTooMuchToName) {
  EXPECT_EQ(syncs_after([](FsDriver& drive) {
              int code = 0;
              for (std::size_t i = 0; i <= vfs::ShareFs::kMaxChanged && code == 0; ++i)
                code = drive.create("f" + std::to_string(i), "");
              return outcome({code});
            }),
            (Syncs{0, 1}));
}

}  // namespace
}  // namespace layerboot::test
