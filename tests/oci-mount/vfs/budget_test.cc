// The budget against what the host's own free space falls by, on each file system that a host may have: a
// random client of several threads, and each way known to take what is not charged.
#include <fcntl.h>
#include <linux/falloc.h>

#include <algorithm>
#include <cstdlib>
#include <iostream>
#include <random>
#include <thread>

#include "oci-mount/base/str_cat.h"
#include "tests/oci-mount/vfs/budget_client.h"
#include "tests/oci-mount/vfs/host_disk.h"
#include "tests/oci-mount/vfs/image_fixture.h"

namespace layerboot::test {
namespace {

constexpr std::uint64_t kMiB = 1U << 20;
constexpr std::uint64_t kBudgetBytes = 16 * kMiB;
constexpr std::uint64_t kManyInodes = 1U << 20;  // bytes are what runs out
/// What makes room may pass the budget by.
constexpr std::uint64_t kRoomBytes = kMiB;
constexpr int kDirectories = 1500;
constexpr std::uint64_t kBlockBytes = 4096;

std::string numbered(const char* stem, int i) { return stem + std::to_string(i); }
std::string long_name(int i) {
  const std::string number = std::to_string(i);
  return std::string(255 - number.size(), 'n') + number;
}

std::vector<std::string> image_of_many_directories() {
  TarBuilder tar;
  for (int i = 0; i < kDirectories; ++i) {
    const auto directory = std::to_string(i);
    tar.directory(directory).file(directory + "/f", i % 100 == 0 ? std::string(300'000, 'i') : "");
  }
  return {tar.finish()};
}

class BudgetTest : public testing::TestWithParam<const char*>, protected ImageFixture {
 protected:
  BudgetTest() : ImageFixture(image_of_many_directories()), disk_(GetParam()) {}

  void SetUp() override {
    if (!disk_.mounted()) GTEST_SKIP() << GetParam() << ": " << disk_.why_not();
    before_ = disk_.taken_bytes();
    start();
  }
  void TearDown() override {
    driver.reset();
    fs.reset();
  }
  void start() {
    driver.reset();
    fs.reset();
    vfs::UpperOptions options;
    options.directory = disk_.path() / "vm";
    options.quota_bytes = kBudgetBytes;
    options.quota_inodes = kManyInodes;
    auto opened = vfs::make_writable_fs(*source, options);
    ASSERT_TRUE(opened) << opened.error().describe();
    fs = std::move(*opened);
    driver = std::make_unique<FsDriver>(*fs);
  }

  [[nodiscard]] std::uint64_t taken() const {
    const std::uint64_t now = disk_.taken_bytes();
    return now > before_ ? now - before_ : 0;
  }
  /// By what df in the guest shows.
  [[nodiscard]] std::uint64_t used() const { return kBudgetBytes - fs->statfs()->blocks_free * kBlockBytes; }
  /// Neither the budget nor what df shows is less than what the host has given.
  void expect_held(const std::string& when) {
    const std::uint64_t host = taken();
    const std::uint64_t shown = used();
    EXPECT_LE(host, kBudgetBytes + kRoomBytes + disk_.own_bytes()) << when << ": the host has given more";
    if (shown < kBudgetBytes - kBlockBytes) {
      EXPECT_LE(host, shown + disk_.own_bytes()) << when << ": df shows less than the host has given";
    }
  }

  template <typename T>
  T wait(Task<T> task) {
    return driver->reactor->block_on(std::move(task));
  }
  int write_node(vfs::NodeId node, std::uint64_t offset, const std::string& bytes) {
    const iovec piece{const_cast<char*>(bytes.data()), bytes.size()};
    const auto put = wait(fs->write(*driver->reactor, node, offset, {&piece, 1}, false));
    return put ? 0 : put.error().code;
  }
  int allocate(vfs::NodeId node, std::uint32_t mode, std::uint64_t offset, std::uint64_t length) {
    const auto done = wait(fs->fallocate(*driver->reactor, node, mode, offset, length));
    return done ? 0 : done.error().code;
  }
  int truncate_node(vfs::NodeId node, std::uint64_t size) {
    vfs::AttrChange change;
    change.size_bytes = size;
    const auto done = wait(fs->setattr(*driver->reactor, node, change));
    return done ? 0 : done.error().code;
  }
  int sync_node(vfs::NodeId node) {
    const auto done = wait(fs->fsync(*driver->reactor, node, false));
    return done ? 0 : done.error().code;
  }
  vfs::NodeId make(const std::string& path) {
    EXPECT_EQ(driver->create(path, ""), 0) << path;
    return driver->acquire(path);
  }
  /// Steps until one is refused; its errno, or 0.
  int until_refused(int most, const std::function<int(int)>& step) {
    for (int i = 0; i < most; ++i) {
      if (const int code = step(i); code != 0) return code;
    }
    return 0;
  }
  void fill() {
    const auto node = make("filler");
    std::uint64_t at = 0;
    for (const std::size_t piece : {256U << 10, 4U << 10}) {
      while (write_node(node, at, std::string(piece, 'f')) == 0) at += piece;
    }
    driver->release(node);
  }
  void remove_below(const std::string& top) {
    for (const auto& name : driver->list(top)) {
      const std::string path = top.empty() ? name : str_cat(top, "/", name);
      const bool of_image = top.empty() && std::all_of(name.begin(), name.end(), ::isdigit);
      if (of_image) continue;
      if (S_ISDIR(driver->attr(path).mode)) {
        remove_below(path);
        EXPECT_EQ(driver->rmdir(path), 0) << path;
      } else {
        EXPECT_EQ(driver->unlink(path), 0) << path;
      }
    }
  }

  HostDisk disk_;
  std::uint64_t before_ = 0;
};

TEST_P(BudgetTest, SeveralClientsAtRandom) {
  constexpr std::uint64_t kClients = 3;
  constexpr int kRounds = 5;
  constexpr int kStepsEach = 400;
  const char* const given = std::getenv("LAYERBOOT_TEST_SEED");
  const std::uint64_t seed = given != nullptr ? std::strtoull(given, nullptr, 10) : std::random_device{}();
  std::cout << "seed " << seed << " (LAYERBOOT_TEST_SEED)\n";
  std::vector<std::unique_ptr<BudgetClient>> clients;
  for (std::uint64_t i = 0; i < kClients; ++i) {
    clients.push_back(std::make_unique<BudgetClient>(*fs, seed + i, kDirectories));
  }
  for (int round = 0; round < kRounds; ++round) {
    {
      std::vector<std::jthread> threads;
      for (const auto& client : clients) threads.emplace_back([&client] { client->run(kStepsEach); });
    }
    ASSERT_NO_FATAL_FAILURE(expect_held(numbered("round ", round)));
    if (HasFailure()) break;
  }
  std::map<int, int> answers;
  for (const auto& client : clients) {
    client->forget_all();
    for (const auto& [code, count] : client->answers) answers[code] += count;
  }
  clients.clear();
  EXPECT_GT(answers[0], 100);
  RecordProperty("refused", answers[ENOSPC]);

  fs->reset();
  const std::uint64_t counted = used();
  start();
  EXPECT_EQ(used(), counted) << "a restart counts what a reset has";
  expect_held("after a restart");
  remove_below("");
  fs->reset();
  EXPECT_LE(used(), kDirectories * kBlockBytes * 2 + kMiB);
  expect_held("after all was removed");
}

TEST_P(BudgetTest, Attributes) {
  const auto node = make("file");
  for (const std::size_t size : {65'536U, 15'000U, 3'000U, 10U}) {
    static_cast<void>(until_refused(3000, [&](int i) {
      const auto name = str_cat("trusted.", size, "-", i);
      const auto set = wait(fs->setxattr(*driver->reactor, node, name, std::string(size, 'v'), 0));
      return set ? 0 : set.error().code;
    }));
  }
  static_cast<void>(until_refused(3000, [&](int i) {
    const auto path = numbered("x", i);
    if (const int code = driver->create(path, ""); code != 0) return code;
    return driver->setxattr(path, "user.v", std::string(3000, static_cast<char>('a' + i % 26)));
  }));
  expect_held("attributes");
}

TEST_P(BudgetTest, Names) {
  static_cast<void>(make("file"));
  const int code = until_refused(60'000, [&](int i) {
    const auto into = numbered("names", i / 5000);
    if (i % 5000 == 0) {
      if (const int made = driver->mkdir(into); made != 0) return made;
      static_cast<void>(driver->acquire(into));  // else it would be read anew each time
    }
    return driver->link("file", str_cat(into, "/", long_name(i)));
  });
  EXPECT_TRUE(code == ENOSPC || code == EMLINK) << code;
  expect_held("links");
}

TEST_P(BudgetTest, EmptyObjects) {
  EXPECT_EQ(until_refused(200'000,
                          [&](int i) {
                            if (i % 4 == 0) return driver->mkdir(numbered("d", i));
                            return driver->create(str_cat("d", i / 4 * 4, "/", long_name(i)), "");
                          }),
            ENOSPC);
  expect_held("empty objects");
}

/// Names in directories of the image: each takes a directory and a whiteout.
TEST_P(BudgetTest, WhatMakesRoomHasACap) {
  fill();
  const std::uint64_t full = taken();
  const int code =
      until_refused(kDirectories, [&](int i) { return driver->unlink(std::to_string(i) + "/f"); });
  EXPECT_LE(taken(), full + kRoomBytes + disk_.own_bytes());
  expect_held("unlinks");
  EXPECT_EQ(driver->unlink("filler"), 0) << "what frees is never refused";
  if (code == 0) return;  // the cap was not reached
  EXPECT_EQ(code, ENOSPC);
  EXPECT_EQ(driver->unlink(std::to_string(kDirectories - 1) + "/f"), 0) << "and there is room again";
}

TEST_P(BudgetTest, OverwritesOfWhatIsThere) {
  const auto node = make("file");
  constexpr std::uint64_t kBytes = 4 * kMiB;
  ASSERT_EQ(write_node(node, 0, std::string(kBytes, 'a')), 0);
  ASSERT_EQ(sync_node(node), 0);
  // All but a little of what was written before, again and again.
  for (std::uint64_t round = 1; round < 12; ++round) {
    const int code =
        write_node(node, 0, std::string(kBytes - round * kBlockBytes, static_cast<char>('a' + round)));
    static_cast<void>(sync_node(node));
    if (code != 0) {
      EXPECT_EQ(code, ENOSPC);
      break;
    }
  }
  expect_held("overwritten");
}

TEST_P(BudgetTest, CutsOfWhatWasWrittenAtOnce) {
  for (int i = 0; i < 12; ++i) {
    if (driver->create(numbered("cut", i), "") != 0) break;
    const auto node = driver->acquire(numbered("cut", i));
    int code = write_node(node, 0, std::string(3 * kMiB, 'c'));
    if (code == 0) code = sync_node(node);
    if (code == 0)
      code = i % 2 == 0 ? truncate_node(node, 5000)
                        : allocate(node, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 8192, 3 * kMiB);
    static_cast<void>(sync_node(node));
    driver->release(node);
    if (code != 0) {
      EXPECT_EQ(code, ENOSPC);
      break;
    }
  }
  expect_held("cut");
}

TEST_P(BudgetTest, AppendsAndBlocksFarApart) {
  const auto log = make("log");
  EXPECT_EQ(until_refused(6000,
                          [&](int i) {
                            return write_node(log, static_cast<std::uint64_t>(i) * 5000,
                                              std::string(5000, 'l'));
                          }),
            ENOSPC);
  expect_held("appended");
  EXPECT_GT(taken(), kBudgetBytes * 3 / 4) << "refused early";
  ASSERT_EQ(truncate_node(log, 0), 0);
  const auto sparse = make("sparse");
  EXPECT_EQ(until_refused(
                6000, [&](int i) { return write_node(sparse, static_cast<std::uint64_t>(i) << 20, "s"); }),
            ENOSPC);
  expect_held("far apart");
}

TEST_P(BudgetTest, NumbersThatWereNotLookedUp) {
  const auto big = driver->acquire("0/f");
  ASSERT_EQ(driver->rename("0/f", "moved"), 0);
  for (int i = 0; i < 100; ++i) {
    fs->reset();
    static_cast<void>(write_node(big, 0, "x"));
    driver->release(driver->acquire("moved"));
    static_cast<void>(write_node(big, 0, "y"));
  }
  expect_held("numbers");
}

TEST_P(BudgetTest, WhatNeedsNoSpaceSucceedsWhenFull) {
  const auto allocated = make("allocated");
  ASSERT_EQ(allocate(allocated, 0, 0, 2 * kMiB), 0);
  const auto sparse = make("sparse");
  ASSERT_EQ(write_node(sparse, 0, std::string(kMiB, 'a')), 0);
  ASSERT_EQ(truncate_node(sparse, 64 * kMiB), 0);
  ASSERT_EQ(sync_node(sparse), 0);
  fill();
  EXPECT_EQ(write_node(sparse, 4096, std::string(65'536, 'b')), 0) << "overwrites what is there";
  EXPECT_EQ(write_node(sparse, 2 * kMiB, std::string(kMiB, 'b')), ENOSPC) << "fills a hole";
  EXPECT_EQ(allocate(allocated, 0, 0, 8 * kMiB), ENOSPC);
  // A tmpfs says of no block whether it is preallocated.
  if (std::string_view(GetParam()) != "tmpfs") {
    EXPECT_EQ(allocate(allocated, 0, 0, 2 * kMiB), 0) << "is allocated";
    EXPECT_EQ(allocate(allocated, FALLOC_FL_KEEP_SIZE, 4096, 65'536), 0);
    EXPECT_EQ(write_node(allocated, 0, std::string(65'536, 'c')), 0) << "what was preallocated is written";
    EXPECT_EQ(allocate(allocated, FALLOC_FL_ZERO_RANGE, 0, 2 * kMiB), 0) << "is allocated";
  }
  expect_held("full");
}

INSTANTIATE_TEST_SUITE_P(Hosts, BudgetTest, testing::Values("ext4", "xfs", "btrfs", "tmpfs"),
                         [](const auto& test) { return test.param; });

}  // namespace
}  // namespace layerboot::test
