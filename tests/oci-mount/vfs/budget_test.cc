// The budget against what the host's own free space falls by, on each file system that a host may have: a
// random client of several threads, and each way known to take what is not charged by names and attributes.
#include <cstdlib>
#include <iostream>
#include <random>

#include "tests/oci-mount/vfs/budget_client.h"
#include "tests/oci-mount/vfs/budget_fixture.h"
#include "tests/support/acl_text.h"

namespace layerboot::test {
namespace {

TEST_P(BudgetTest, SeveralClientsAtRandom) {
  constexpr std::uint64_t kClients = 3;
  constexpr int kRounds = 40;
  constexpr int kStepsEach = 50;  // of each client; then nothing is at work, and all is compared
  const char* const given = std::getenv("LAYERBOOT_TEST_SEED");
  const std::uint64_t seed = given != nullptr ? std::strtoull(given, nullptr, 10) : std::random_device{}();
  std::cout << "seed " << seed << " (LAYERBOOT_TEST_SEED)\n";
  std::vector<std::unique_ptr<BudgetClient>> clients;
  for (std::uint64_t i = 0; i < kClients; ++i) {
    clients.push_back(std::make_unique<BudgetClient>(*fs, seed + i, kDirectories));
  }
  for (int round = 0; round < kRounds; ++round) {
    {
      const std::jthread watcher([this](const std::stop_token& stopped) { watch(stopped); });
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
  EXPECT_GT(looks_while_at_work_, 0U);
  RecordProperty("refused", answers[ENOSPC]);

  fs->reset();
  const std::uint64_t counted = used();
  start();
  if (host_of(GetParam()) == "btrfs") {
    EXPECT_LE(used(), counted) << "after a kill nobody knows what the host keeps of what was cut off";
  } else {
    EXPECT_EQ(used(), counted) << "a restart counts what a reset has";
  }
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

TEST_P(BudgetTest, NamelessFilesWithInheritedAcls) {
  if (GetParam() == std::string_view("ext4_1k")) GTEST_SKIP() << "a block of 1 KiB has no room for such ACLs";
  ASSERT_EQ(driver->mkdir("d"), 0);
  std::vector<AclEntry> entries = {{0x01, 7, ~0U}};
  for (std::uint32_t user = 1000; user < 1400; ++user) entries.push_back({0x02, 5, user});
  for (const AclEntry& entry : {AclEntry{0x04, 5, ~0U}, AclEntry{0x10, 7, ~0U}, AclEntry{0x20, 0, ~0U}})
    entries.push_back(entry);
  ASSERT_EQ(driver->setxattr("d", "system.posix_acl_default", acl_text(entries)), 0);
  ASSERT_EQ(driver->create("kept", std::string(4 * kMiB, 'k')), 0);  // what could be booked off
  const auto held = driver->acquire("d");
  for (int i = 0; i < 20; ++i) {
    const auto made = fs->tmpfile(held, 0644, {});
    ASSERT_TRUE(made) << made.error().describe();
    ASSERT_TRUE(wait(fs->link(*driver->reactor, made->id, held, "x")));
    fs->forget(made->id, 2);
    driver->release(driver->acquire("d/x"));
    ASSERT_EQ(driver->unlink("d/x"), 0);
  }
  expect_counted("nameless files that got a name, were met again and removed");
}

TEST_P(BudgetTest, SymlinksThatAreMetAgain) {
  ASSERT_EQ(driver->create("kept", std::string(4 * kMiB, 'k')), 0);  // what could be booked off
  for (int i = 0; i < 50; ++i) {
    ASSERT_EQ(driver->symlink("s", std::string(1000, 't')), 0);
    driver->release(driver->acquire("s"));
    ASSERT_EQ(driver->unlink("s"), 0);
  }
  expect_counted("symlinks that were met again and removed");
}

/// A host gives the number of a removed directory's inode again, while the client holds the old one: then the
/// file that has it is one file all the same, by whatever name it is met.
TEST_P(BudgetTest, OneFileUnderAnotherNumberIsOneFile) {
  constexpr int kHeld = 300;  // more than are kept alive without a name
  std::vector<vfs::NodeId> held;
  for (int i = 0; i < kHeld; ++i) {
    held.push_back(make(numbered("held", i)));
    ASSERT_EQ(driver->unlink(numbered("held", i)), 0);
  }
  for (int round = 0; round < 20; ++round) {
    const auto gone = numbered("d", round);
    ASSERT_EQ(driver->mkdir(gone), 0);
    static_cast<void>(driver->acquire(gone));
    ASSERT_EQ(driver->rmdir(gone), 0);
    const auto f = numbered("f", round);
    const auto g = numbered("g", round);
    ASSERT_EQ(driver->create(f, std::string(65'536, 'f')), 0);
    ASSERT_EQ(driver->link(f, g), 0);
    const auto by_f = driver->acquire(f);
    const auto by_g = driver->acquire(g);
    EXPECT_EQ(by_f, by_g);
    ASSERT_EQ(truncate_node(by_f, 0), 0);
    ASSERT_EQ(truncate_node(by_g, 0), 0);
    driver->release(by_f);
    driver->release(by_g);
  }
  for (const auto node : held) driver->release(node);
  expect_counted("files with two names");
}

INSTANTIATE_TEST_SUITE_P(Hosts, BudgetTest,
                         testing::Values("ext4", "ext4_1k", "xfs", "btrfs", "tmpfs", "btrfs_recorded",
                                         "tmpfs_recorded"),
                         [](const auto& test) { return test.param; });

}  // namespace
}  // namespace layerboot::test
