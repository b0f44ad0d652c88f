// Every operation that makes the upper grow, again and again until it is refused: after each the host holds
// no more than the budget and a block, what was booked is what is there, and what is removed is back at once.
#include <fcntl.h>
#include <linux/falloc.h>

#include <algorithm>

#include "oci-mount/base/str_cat.h"
#include "tests/oci-mount/vfs/writable_fixture.h"

namespace layerboot::test {
namespace {

constexpr std::uint64_t kBudgetBytes = 512U << 10;
constexpr std::uint64_t kManyInodes = 1U << 20;  // bytes are what runs out
constexpr std::uint64_t kBlockBytes = 4096;
constexpr int kMostSteps = 6'000;

class QuotaMatrix;

/// One way to grow: the `i`th time. 0 or an errno.
struct Growth {
  const char* name;
  int (*step)(QuotaMatrix& test, int i);
  bool must_end = true;  // in ENOSPC
  /// Where it is no such growth, and why.
  const char* (*left_out)(const overlay::Tariff& host) = nullptr;
};
void PrintTo(const Growth& growth, std::ostream* out) { *out << growth.name; }

bool directories_stay_large(const overlay::Tariff& host) { return host.kind() == overlay::HostKind::kExt4; }

std::string numbered(const char* stem, int i) { return stem + std::to_string(i); }
/// As long as a name may be, so that directories fill up.
std::string long_name(int i) {
  const std::string number = std::to_string(i);
  return std::string(255 - number.size(), 'n') + number;
}
/// In a directory of its own, since the host's directories don't shrink: what they took comes back when they
/// go.
std::string long_path(QuotaMatrix& test, int i);

std::vector<std::string> many_files() {
  auto tars = test_image();
  TarBuilder tar;
  tar.directory("many");
  for (int i = 0; i < 300; ++i) tar.file("many/" + std::to_string(i), std::string(6000, 'm'));
  tars.push_back(tar.finish());
  return tars;
}

class QuotaMatrix : public WritableFsTest,
                    public testing::WithParamInterface<std::tuple<Growth, overlay::Keeping>> {
 public:
  QuotaMatrix() : WritableFsTest(many_files()) {}

  using WritableFsTest::drive;
  using WritableFsTest::set_mode;
  using WritableFsTest::tariff;
  using WritableFsTest::wait;
  using WritableFsTest::write_node;

  vfs::FileSystem& file_system() { return *fs; }
  Reactor& ring() { return *drive().reactor; }
  /// A file that is there from the first step on.
  vfs::NodeId file() {
    if (file_ == 0) {
      EXPECT_EQ(drive().create("file", ""), 0);
      file_ = drive().acquire("file");
    }
    return file_;
  }
  std::vector<vfs::NodeId> held;  // by the client, without a name

 protected:
  void SetUp() override {
    record_owners = std::get<overlay::Keeping>(GetParam()) == overlay::Keeping::kRecorded;
    if (!record_owners) SKIP_UNLESS_ROOT();
    open_writable(kBudgetBytes, kManyInodes);
  }
  void TearDown() override {}
  std::uint64_t used_bytes() { return kBudgetBytes - std::min(kBudgetBytes, available()); }
  std::uint64_t available() { return fs->statfs()->blocks_free * 4096; }
  void remove_all() {
    if (file_ != 0) drive().release(file_);
    for (const auto node : held) drive().release(node);
    held.clear();
    remove_below("");
  }
  void remove_below(const std::string& top) {
    for (const auto& name : drive().list(top)) {
      const std::string path = top.empty() ? name : str_cat(top, "/", name);
      if (S_ISDIR(drive().attr(path).mode)) {
        remove_below(path);
        EXPECT_EQ(drive().rmdir(path), 0) << path;
      } else {
        EXPECT_EQ(drive().unlink(path), 0) << path;
      }
    }
  }

 private:
  vfs::NodeId file_ = 0;
};

TEST_P(QuotaMatrix, NeverPassesTheBudgetByMoreThanABlock) {
  const auto& [name, step, must_end, left_out] = std::get<Growth>(GetParam());
  const char* const why = left_out != nullptr ? left_out(tariff()) : nullptr;
  if (why != nullptr) GTEST_SKIP() << why;
  int code = 0;
  int steps = 0;
  for (; code == 0 && steps < kMostSteps; ++steps) {
    code = step(*this, steps);
    // A walk for each of many small steps would take minutes.
    if (steps < 200 || steps % 100 == 0 || code != 0) {
      ASSERT_LE(host_usage(directory / "vm").bytes, kBudgetBytes + kBlockBytes) << "step " << steps;
    }
    if (!must_end && steps == 300) break;
  }
  EXPECT_EQ(code, must_end ? ENOSPC : 0) << "after " << steps << " steps";
  RecordProperty("steps", steps);
  const auto there = host_usage(directory / "vm").bytes;
  const auto booked = used_bytes();
  EXPECT_LE(booked, there + there / 100 + kBlockBytes);
  EXPECT_LE(there, booked + booked / 100 + kBlockBytes);
  if (must_end) {
    EXPECT_GT(there, kBudgetBytes * 3 / 4) << "refused early";
  }
  remove_all();
  // Directories of the image that are in the upper now; nothing else may stay booked.
  static_cast<void>(drive().snapshot());
  EXPECT_EQ(used_bytes(), host_usage(directory / "vm").bytes);
  EXPECT_LE(used_bytes(), 16 * kBlockBytes);
  const std::string half(kBudgetBytes / 2, 'x');
  EXPECT_EQ(drive().create("after", half), 0);
}

std::string long_path(QuotaMatrix& test, int i) {
  if (i == 0) {
    EXPECT_EQ(test.drive().mkdir("names"), 0);
  }
  return "names/" + long_name(i);
}

int keep(QuotaMatrix& test, const Result<vfs::Entry>& made) {
  if (!made) return made.error().code;
  test.held.push_back(made->id);
  return 0;
}

int allocate(QuotaMatrix& test, std::uint32_t mode, std::uint64_t offset, std::uint64_t length) {
  return code_of(test.wait(test.file_system().fallocate(test.ring(), test.file(), mode, offset, length)));
}

int truncate_node(QuotaMatrix& test, vfs::NodeId node, std::uint64_t size) {
  vfs::AttrChange change;
  change.size_bytes = size;
  return code_of(test.wait(test.file_system().setattr(test.ring(), node, change)));
}

const Growth kGrowths[] = {
    {"Append",
     [](QuotaMatrix& test, int i) {
       return test.write_node(test.file(), static_cast<std::uint64_t>(i) * 3000, std::string(3000, 'x'));
     }},
    {"WriteFarPastTheEnd",
     [](QuotaMatrix& test, int i) {
       return test.write_node(test.file(), static_cast<std::uint64_t>(i) << 24, "x");
     }},
    {"FillHoles",
     [](QuotaMatrix& test, int i) {
       if (i == 0) return truncate_node(test, test.file(), 1U << 30);
       return test.write_node(test.file(), static_cast<std::uint64_t>(i) * 8192, std::string(4096, 'x'));
     }},
    {"Fallocate", [](QuotaMatrix& test,
                     int i) { return allocate(test, 0, static_cast<std::uint64_t>(i) * 16384, 16384); }},
    {"FallocateKeepSize",
     [](QuotaMatrix& test, int i) {
       return allocate(test, FALLOC_FL_KEEP_SIZE, static_cast<std::uint64_t>(i) * 16384, 16384);
     }},
    {"PunchAndFillAgain",
     [](QuotaMatrix& test, int i) {
       if (i % 2 == 1) return allocate(test, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 100'000);
       return test.write_node(test.file(), 0, std::string(100'000, 'x'));
     },
     false,
     [](const overlay::Tariff& host) {
       return host.keeps_what_is_cut() ? "this host keeps what is punched out" : nullptr;
     }},
    {"TruncateUpAndDown",
     [](QuotaMatrix& test, int i) {
       if (i % 3 == 2) return truncate_node(test, test.file(), 0);
       if (i % 3 == 1) return truncate_node(test, test.file(), 10 * kBudgetBytes);
       return test.write_node(test.file(), 5000, std::string(200'000, 'x'));
     },
     false},
    {"CopyUp", [](QuotaMatrix& test, int i) { return test.drive().write(numbered("many/", i), 100, "x"); }},
    {"CopyUpOfAttributesThenOfData",
     [](QuotaMatrix& test, int i) {
       const auto path = numbered("many/", i);
       if (const int code = test.set_mode(path, 0600); code != 0) return code;
       return test.drive().write(path, 100, "x");
     }},
    {"CopyUpOfAttributesAndRename",
     [](QuotaMatrix& test, int i) {
       // A few attributes may take a block outside the inode, but no more than one.
       const auto path = numbered("many/", i / 5);
       const auto moved = numbered("moved", i / 5);
       if (i % 5 == 0) return test.set_mode(path, 0600);
       return i % 5 % 2 == 1 ? test.drive().rename(path, moved) : test.drive().rename(moved, path);
     },
     false},
    {"CopyFileRange",
     [](QuotaMatrix& test, int i) {
       constexpr std::uint64_t kPieceBytes = 6000;
       const auto from = test.drive().acquire(numbered("many/", i % 300));
       const auto copied = test.wait(test.file_system().copy_file_range(
           test.ring(), from, 0, test.file(), static_cast<std::uint64_t>(i) * kPieceBytes, kPieceBytes));
       test.drive().release(from);
       // Cut short where the budget ends; the next one is refused.
       return code_of(copied);
     }},
    {"Create", [](QuotaMatrix& test, int i) { return test.drive().create(long_path(test, i), ""); }},
    {"CreateAndWrite",
     [](QuotaMatrix& test, int i) { return test.drive().create(numbered("c", i), std::string(5000, 'x')); }},
    {"Mkdir", [](QuotaMatrix& test, int i) { return test.drive().mkdir(numbered("d", i)); }},
    {"MkdirDeep",
     [](QuotaMatrix& test, int i) {
       std::string path = "deepest";
       for (int level = 0; level < i; ++level) path += "/d";
       return test.drive().mkdir(path);
     }},
    {"Symlink",
     [](QuotaMatrix& test, int i) {
       return test.drive().symlink(numbered("s", i), std::string(1000, 't'));
     }},  // XFS: 1024 at most
    {"Mknod",
     [](QuotaMatrix& test, int i) { return test.drive().mknod(long_path(test, i), S_IFIFO | 0600, 0); }},
    {"Link",
     [](QuotaMatrix& test, int i) {
       if (i == 0) static_cast<void>(test.file());
       return test.drive().link("file", long_path(test, i));
     }},
    {"RenameIntoNewDirectories",
     [](QuotaMatrix& test, int i) {
       // What moves on leaves the directory as large as it was.
       constexpr int kNames = 60;
       const auto directory = [](int number) { return numbered("r", number); };
       const int round = i / (kNames + 1);
       const int name = i % (kNames + 1) - 1;
       if (name < 0) return test.drive().mkdir(directory(round));
       if (round == 0) return test.drive().create(directory(0) + "/" + long_name(name), "");
       return test.drive().rename(directory(round - 1) + "/" + long_name(name),
                                  directory(round) + "/" + long_name(name));
     },
     true,
     [](const overlay::Tariff& host) {
       return directories_stay_large(host) ? nullptr : "directories shrink on this host";
     }},
    {"RenameOver",
     [](QuotaMatrix& test, int) {
       if (const int code = test.drive().create("new", std::string(20'000, 'x')); code != 0) return code;
       return test.drive().rename("new", "over");
     },
     false},
    {"Xattr",
     [](QuotaMatrix& test, int i) {
       const auto path = numbered("x", i);
       if (const int code = test.drive().create(path, ""); code != 0) return code;
       return test.drive().setxattr(path, "user.big", std::string(3000, static_cast<char>('a' + i % 26)));
     }},
    {"Tmpfile",
     [](QuotaMatrix& test, int) {
       const auto made = test.file_system().tmpfile(vfs::kRootId, 0600, {});
       if (const int code = keep(test, made); code != 0) return code;
       return test.write_node(made->id, 0, std::string(10'000, 'x'));
     }},
    {"OpenUnlinked",
     [](QuotaMatrix& test, int i) {
       const auto path = numbered("u", i);
       if (const int code = test.drive().create(path, ""); code != 0) return code;
       const auto node = test.drive().acquire(path);
       test.held.push_back(node);
       if (const int code = test.drive().unlink(path); code != 0) return code;
       return test.write_node(node, 0, std::string(10'000, 'x'));
     }},
};

INSTANTIATE_TEST_SUITE_P(Operations, QuotaMatrix,
                         testing::Combine(testing::ValuesIn(kGrowths),
                                          testing::Values(overlay::Keeping::kNative,
                                                          overlay::Keeping::kRecorded)),
                         [](const auto& test) {
                           const bool native =
                               std::get<overlay::Keeping>(test.param) == overlay::Keeping::kNative;
                           return str_cat(std::get<Growth>(test.param).name, native ? "" : "Recorded");
                         });

}  // namespace
}  // namespace layerboot::test
