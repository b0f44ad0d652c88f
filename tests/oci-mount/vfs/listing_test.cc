// Listings of merged directories: every name once, whatever happens meanwhile.
#include <sys/stat.h>

#include <algorithm>
#include <set>

#include "tests/oci-mount/vfs/writable_fixture.h"

namespace layerboot::test {
namespace {

constexpr int kManyFiles = 10'000;

std::string many_files(int count) {
  TarBuilder tar;
  tar.directory("many");
  for (int i = 0; i < count; ++i) tar.file("many/" + std::to_string(i), "");
  return tar.finish();
}

class ListingTest : public WritableFsTest {
 protected:
  explicit ListingTest(int count = kManyFiles) : WritableFsTest({many_files(count)}) {}

  /// One page of a listing, at most three names; moves `cookie` on.
  std::vector<std::string> page(vfs::NodeId node, std::uint64_t& cookie, bool with_nodes) {
    std::vector<std::string> names;
    std::vector<vfs::NodeId> given;
    std::size_t taken = 0;
    EXPECT_TRUE(
        fs->readdir(node, cookie, with_nodes, [&](const vfs::Dirent& dirent, const vfs::Entry& entry) {
          if (taken == 3) return false;
          ++taken;
          cookie = dirent.next_cookie;
          names.emplace_back(dirent.name);
          if (entry.id != 0) given.push_back(entry.id);
          return true;
        }));
    for (const auto id : given) drive().release(id);
    return names;
  }
};

TEST_F(ListingTest, RemovingWhileListingMissesNothing) {
  const auto many = drive().acquire("many");
  for (int i = 0; i < 100; ++i) EXPECT_EQ(drive().create("many/own" + std::to_string(i), ""), 0);
  std::set<std::string> seen;
  std::uint64_t cookie = 0;
  for (auto names = page(many, cookie, true); !names.empty(); names = page(many, cookie, true)) {
    for (const auto& name : names) {
      EXPECT_TRUE(seen.insert(name).second) << name << " was given twice";
      if (name == "." || name == "..") continue;
      EXPECT_TRUE(fs->unlink(many, name)) << name;
    }
  }
  EXPECT_EQ(seen.size(), kManyFiles + 100U + 2U);
  EXPECT_TRUE(drive().list("many").empty());
  EXPECT_EQ(drive().rmdir("many"), 0);
  drive().release(many);  // until then it is charged what it took when it was removed
}

// Linux's generic/736 of xfstests, and rm of what a program makes meanwhile.
TEST_F(ListingTest, EndsWhileTheReaderRenamesAndCreates) {
  ASSERT_EQ(drive().mkdir("busy"), 0);
  const auto busy = drive().acquire("busy");
  constexpr int kFiles = 300;
  for (int i = 0; i < kFiles; ++i) ASSERT_EQ(drive().create("busy/f" + std::to_string(i), ""), 0);
  std::set<std::string> seen;
  std::uint64_t cookie = 0;
  int renamed = 0;
  for (auto names = page(busy, cookie, true); !names.empty(); names = page(busy, cookie, true)) {
    for (const auto& name : names) {
      EXPECT_TRUE(seen.insert(name).second) << name << " was given twice";
      if (name == "." || name == "..") continue;
      ASSERT_LT(renamed, 2 * kFiles) << "the listing does not end";
      ASSERT_EQ(drive().rename("busy/" + name, "busy/" + std::to_string(renamed++)), 0);
      ASSERT_EQ(drive().create("busy/new" + std::to_string(renamed), ""), 0);
    }
  }
  EXPECT_EQ(renamed, kFiles) << "each file once, under its name of then";
  EXPECT_EQ(drive().list("busy").size(), 2U * kFiles) << "a listing that begins later has all";
  drive().release(busy);
}

TEST_F(ListingTest, ACopyUpInTheMiddleMovesNoName) {
  const auto many = drive().acquire("many");
  std::vector<std::string> expected = drive().list("many");
  std::vector<std::string> names;
  std::uint64_t cookie = 0;
  for (int i = 0; i < kManyFiles; ++i) {
    const auto listed = page(many, cookie, i % 2 == 0);
    if (listed.empty()) break;
    names.insert(names.end(), listed.begin(), listed.end());
    // Copies the directory up first, then files before, at and after the place of the listing.
    if (i == 100) {
      for (const auto& name : {expected[5], names.back(), expected[400], expected[9000]}) {
        EXPECT_EQ(drive().write("many/" + name, 0, "x"), 0);
      }
    }
  }
  names.erase(names.begin(), names.begin() + 2);  // "." and ".."
  EXPECT_EQ(names, expected);
}

TEST_F(ListingTest, NamesThatComeAndGoDoNotDisturbTheOthers) {
  const auto many = drive().acquire("many");
  const auto expected = drive().list("many");
  std::multiset<std::string> names;
  std::uint64_t cookie = 0;
  for (int i = 0;; ++i) {
    const auto listed = page(many, cookie, false);
    if (listed.empty()) break;
    names.insert(listed.begin(), listed.end());
    // Ends: names made while listing may be listed, so only so many are made.
    if (i >= 500) continue;
    const std::string name = "many/new" + std::to_string(i);
    EXPECT_EQ(drive().create(name, ""), 0);
    if (i % 3 == 0) {
      EXPECT_EQ(drive().unlink(name), 0);
    } else if (i % 3 == 1) {
      EXPECT_EQ(drive().rename(name, name + "-moved"), 0);
    }
  }
  for (const auto& name : expected) EXPECT_EQ(names.count(name), 1U) << name;
  for (const auto& name : names) EXPECT_LE(names.count(name), 1U) << name;
}

TEST_F(ListingTest, AnyCookieIsAnswered) {
  const auto many = drive().acquire("many");
  EXPECT_EQ(drive().create("many/own", ""), 0);
  for (const std::uint64_t start : {std::uint64_t{1}, std::uint64_t{kManyFiles} + 5, std::uint64_t{1} << 40,
                                    (std::uint64_t{1} << 40) + 7, UINT64_MAX - 1, UINT64_MAX}) {
    std::uint64_t cookie = start;
    static_cast<void>(page(many, cookie, true));
  }
}

constexpr int kHuge = 100'000;

class HugeListingTest : public ListingTest {
 protected:
  HugeListingTest() : ListingTest(kHuge) {}
};

TEST_F(HugeListingTest, AHundredThousandNamesListedWhileTheyChange) {
  const auto many = drive().acquire("many");
  std::set<std::string> seen;
  std::uint64_t cookie = 0;
  for (int number = 0;;) {
    const auto listed = page(many, cookie, true);
    if (listed.empty()) break;
    for (const auto& name : listed) {
      EXPECT_TRUE(seen.insert(name).second) << name << " twice";
      if (name == "." || name == ".." || ++number % 50 != 0) continue;
      EXPECT_TRUE(fs->unlink(many, name)) << name;
      if (number % 500 == 0) {
        EXPECT_EQ(drive().create("many/" + name, "again"), 0);
      }
    }
  }
  EXPECT_EQ(seen.size(), kHuge + 2U);
  drive().release(many);
}

}  // namespace
}  // namespace layerboot::test
