#include "oci-mount/layer/entry_table.h"

#include <gtest/gtest.h>

#include <ctime>
#include <random>

#include "oci-mount/base/path_rules.h"
#include "oci-mount/layer/entry_table_builder.h"
#include "oci-mount/layer/limits.h"
#include "tests/support/built_tables.h"

namespace layerboot::layer {
namespace {

TarEntry entry(EntryType type, std::string path, std::uint32_t uid = 0) {
  TarEntry made;
  made.type = type;
  made.path = std::move(path);
  made.uid = uid;
  if (type == EntryType::kSymlink || type == EntryType::kHardLink) made.link = "target";
  return made;
}

using test::bytes_of;

Result<EntryTable> build(const std::vector<TarEntry>& entries, std::uint64_t stream_bytes = 10'000) {
  EntryTableBuilder builder;
  for (const TarEntry& one : entries) LB_TRY(builder.add(one));
  LB_ASSIGN(const auto table, builder.finish());
  return EntryTable::parse(bytes_of(table), table.shape(), stream_bytes);
}

/// "path:uid" of each, in the table's order; marks with a letter before.
std::string listed(const Result<EntryTable>& table) {
  if (!table) return table.error().text;
  std::string text;
  for (std::uint32_t i = 0; i < table->entry_count(); ++i) {
    const EntryView view = table->entry(i);
    if (!text.empty()) text += ' ';
    if (view.type == EntryType::kWhiteout) text += "W-";
    if (view.type == EntryType::kOpaque) text += "O-";
    text += str_cat(view.path, ":", view.uid);
  }
  return text;
}

constexpr auto kFile = EntryType::kFile;
constexpr auto kDirectory = EntryType::kDirectory;

TEST(EntryTable, KeepsEveryField) {
  TarEntry file = entry(kFile, "a/b");
  file.mode = 04755;
  file.gid = 7;
  file.mtime_sec = -5;
  file.mtime_nsec = 999'999'999;
  file.size_bytes = 100;
  file.extents = {{0, 512, 10}, {50, 600, 50}};
  file.xattrs = {{"user.x", std::string("v\0v", 3)}, {"user.y", ""}};
  TarEntry device = entry(EntryType::kCharDevice, "dev");
  device.rdev_major = 5;
  device.rdev_minor = 1;
  const auto table = build({file, device, entry(EntryType::kSymlink, "s")});
  ASSERT_TRUE(table) << table.error().text;
  const EntryView view = table->entry(0);
  EXPECT_EQ(view.path, "a/b");
  EXPECT_EQ(view.mode, 04755U);
  EXPECT_EQ(view.gid, 7U);
  EXPECT_EQ(view.mtime_sec, -5);
  EXPECT_EQ(view.mtime_nsec, 999'999'999U);
  EXPECT_EQ(view.size_bytes, 100U);
  ASSERT_EQ(view.extents.size(), 2U);
  EXPECT_EQ(view.extents[1].stream_offset, 600U);
  ASSERT_EQ(view.xattrs.size(), 2U);
  EXPECT_EQ(view.xattrs[0].value, std::string_view("v\0v", 3));
  EXPECT_EQ(table->entry(1).rdev_major, 5U);
  EXPECT_EQ(table->entry(2).link, "target");
}

TEST(EntryTable, SortsByPartsParentsFirst) {
  EXPECT_EQ(listed(build({entry(kFile, "a/z"), entry(kFile, "a-b"), entry(kFile, "a/b/c"),
                          entry(kDirectory, "a/b"), entry(kDirectory, "a"), entry(kDirectory, ""),
                          entry(kFile, "a/b-c"), entry(kFile, "B")})),
            ":0 B:0 a:0 a/b:0 a/b/c:0 a/b-c:0 a/z:0 a-b:0");
}

TEST(EntryTable, OfOnePathTheLastStays) {
  EXPECT_EQ(listed(build({entry(kFile, "a", 1), entry(kFile, "b", 2), entry(kFile, "a", 3)})), "a:3 b:2");
}

TEST(EntryTable, MarksStandBesideEntries) {
  EXPECT_EQ(listed(build({entry(kDirectory, "d", 1), entry(EntryType::kOpaque, "d", 2),
                          entry(EntryType::kWhiteout, "d", 3), entry(EntryType::kWhiteout, "d", 4)})),
            "W-d:4 O-d:2 d:1");
}

TEST(EntryTable, AFileTakesTheDirectoryBeforeItAway) {
  EXPECT_EQ(listed(build({entry(kDirectory, "a", 1), entry(kFile, "a/b", 2), entry(kFile, "a", 3),
                          entry(kFile, "ab", 4)})),
            "a:3 ab:4");
  EXPECT_EQ(listed(build({entry(kFile, "a", 1), entry(kDirectory, "a", 2), entry(kFile, "a/b", 3)})),
            "a:2 a/b:3");
  EXPECT_EQ(listed(build({entry(kDirectory, "a", 1), entry(kFile, "a/b", 2), entry(kFile, "a", 3),
                          entry(kDirectory, "a", 4), entry(kFile, "a/c", 5)})),
            "a:4 a/c:5")
      << "and what it took away does not come back with the next directory";
}

TEST(EntryTable, WhatIsCoveredAgainAndAgainTakesNoLongerEach) {
  const auto seconds_for = [](int pairs) {
    const std::clock_t begun = std::clock();
    EntryTableBuilder builder;
    for (int i = 0; i < pairs; ++i) {
      // A directory with a file in it, and a file that covers both; each in a directory that all share.
      EXPECT_TRUE(builder.add(entry(kFile, str_cat("d/", i % 1000, "/f"))));
      EXPECT_TRUE(builder.add(entry(kFile, str_cat("d/", i % 1000))));
      EXPECT_TRUE(builder.add(entry(kDirectory, str_cat("d/", i % 1000))));
    }
    const auto table = builder.finish();
    EXPECT_TRUE(table) << table.error().text;
    return static_cast<double>(std::clock() - begun) / CLOCKS_PER_SEC;
  };
  const double some = seconds_for(50'000);
  EXPECT_LT(seconds_for(400'000), 8 * 4 * some + 1) << "in proportion, with room for the clock";
}

TEST(EntryTable, NothingIsBelowAFile) {
  EXPECT_EQ(listed(build({entry(kFile, "a", 1), entry(kFile, "a/c", 2)})),
            "\"a/c\": it leads through \"a\", which the same layer makes something else than a directory");
  EXPECT_EQ(listed(build({entry(kFile, "a", 1), entry(EntryType::kWhiteout, "a/c", 2)})), "a:1 W-a/c:2")
      << "a mark there says nothing";
}

TarEntry link(EntryType type, std::string path, std::string target, std::uint32_t uid = 0) {
  TarEntry made = entry(type, std::move(path), uid);
  made.link = std::move(target);
  return made;
}
TarEntry symlink(std::string path, std::string target) {
  return link(EntryType::kSymlink, std::move(path), std::move(target));
}
TarEntry hard_link(std::string path, std::string target) {
  return link(EntryType::kHardLink, std::move(path), std::move(target), 99);
}

/// "path=target" of each link: with "==" one of this layer, with "=" one of below.
std::string links_of(const Result<EntryTable>& table) {
  if (!table) return table.error().text;
  std::string text;
  for (std::uint32_t i = 0; i < table->entry_count(); ++i) {
    const EntryView view = table->entry(i);
    if (view.type != EntryType::kHardLink && view.type != EntryType::kLinkBelow) continue;
    text += str_cat(text.empty() ? "" : " ", view.path, view.type == EntryType::kHardLink ? "==" : "=",
                    view.link);
  }
  return text;
}

TEST(EntryTable, NamesLeadThroughSymlinksThatStandThen) {
  EXPECT_EQ(listed(build({symlink("lib", "usr/lib"), entry(kFile, "lib/a", 1)})), "lib:0 usr/lib/a:1");
  EXPECT_EQ(listed(build({symlink("lib", "/usr/./lib/"), entry(kFile, "lib/a", 1)})), "lib:0 usr/lib/a:1");
  EXPECT_EQ(listed(build({symlink("d/up", "../../../x"), entry(kFile, "d/up/a", 1)})), "d/up:0 x/a:1");
  EXPECT_EQ(listed(build({symlink("a", "b/c"), symlink("b", "d"), entry(kFile, "a/x", 1)})),
            "a:0 b:0 d/c/x:1");
  EXPECT_EQ(listed(build({symlink("r", "/"), entry(kFile, "r/r/r/x", 1)})), "r:0 x:1");
  EXPECT_EQ(listed(build(
                {symlink("a", "one"), entry(kFile, "a/x", 1), symlink("a", "two"), entry(kFile, "a/y", 2)})),
            "a:0 one/x:1 two/y:2");
  EXPECT_EQ(listed(build({entry(kDirectory, "a"), entry(kFile, "a/x", 1), symlink("a", "two"),
                          entry(kFile, "a/y", 2)})),
            "a:0 two/y:2")
      << "the directory went with what was in it";
  EXPECT_EQ(listed(build({symlink("a", "two"), entry(kDirectory, "a", 1), entry(kFile, "a/y", 2)})),
            "a:1 a/y:2")
      << "the last part of a name is not followed";
  EXPECT_EQ(listed(build({entry(kFile, "a/x", 1), symlink("b", "a"), entry(kFile, "b/x", 2)})), "a/x:2 b:0");
}

TEST(EntryTable, MarksLeadThroughSymlinksToo) {
  EXPECT_EQ(listed(build({symlink("a", "b"), entry(EntryType::kWhiteout, "a/x")})), "a:0 W-b/x:0");
  EXPECT_EQ(listed(build({symlink("a", "b"), entry(EntryType::kOpaque, "a")})), "a:0 O-b:0");
  EXPECT_EQ(listed(build({entry(EntryType::kWhiteout, "a/x"), symlink("a", "b")})), "a:0 W-a/x:0");
}

TEST(EntryTable, SymlinksInACircleAndEndlessPathsAreRefused) {
  EXPECT_NE(listed(build({symlink("a", "b"), symlink("b", "a"), entry(kFile, "a/x")}))
                .find("more than 255 symlinks"),
            std::string::npos);
  EXPECT_NE(listed(build({symlink("a", "a/b"), entry(kFile, "a/x")})).find("255 symlinks"),
            std::string::npos);
  std::string deep;
  for (int i = 0; i < 700; ++i) deep += "d/";
  const auto refused = listed(build({symlink("a", deep), symlink(deep + "b", deep), entry(kFile, "a/b/x")}));
  EXPECT_EQ(refused.find(":0"), std::string::npos) << refused;
}

// A small layer, and thousands of steps for each of its entries.
TEST(EntryTable, SymlinksThatLeadALongWayAreRefusedInTime) {
  std::string far = "d";
  while (far.size() + 2 <= kMaxSymlinkBytes) far += "/.";
  EntryTableBuilder builder;
  ASSERT_TRUE(builder.add(entry(kDirectory, "d")));
  ASSERT_TRUE(builder.add(symlink("s", far)));
  Result<void> added;
  int count = 0;
  // Not twice in one directory: that one is remembered.
  for (; added && count < 100'000; ++count) {
    added = builder.add(entry(kFile, "d/f"));
    if (added) added = builder.add(entry(kFile, "s/f"));
  }
  ASSERT_FALSE(added);
  EXPECT_EQ(added.error().code, E2BIG);
  EXPECT_NE(added.error().text.find(str_cat(StandingPaths::kMaxPartsThroughSymlinks)), std::string::npos)
      << added.error().text;
  EXPECT_GT(count, 5000);
}

TEST(EntryTable, AHardLinkIsBoundToWhatStoodThere) {
  EXPECT_EQ(links_of(build({entry(kFile, "a", 1), hard_link("h", "a")})), "h==a");
  const auto replaced =
      build({entry(kFile, "a", 1), hard_link("h", "a"), hard_link("g", "a"), entry(kFile, "a", 2)});
  EXPECT_EQ(links_of(replaced), "g==h");
  EXPECT_EQ(listed(replaced), "a:2 g:99 h:1");
  const auto in_turn = build({entry(kFile, "a", 1), hard_link("h", "a"), entry(kFile, "a", 2),
                              hard_link("g", "h"), entry(kFile, "h", 3)});
  EXPECT_EQ(listed(in_turn), "a:2 g:1 h:3");
  const auto under = build({entry(kFile, "d/a", 1), hard_link("h", "d/a"), symlink("d", "h")});
  EXPECT_EQ(listed(under), "d:0 h:1");
  const auto chain =
      build({entry(kFile, "a", 1), hard_link("b", "a"), hard_link("c", "b"), hard_link("d", "c")});
  EXPECT_EQ(links_of(chain), "b==a c==a d==a");
  const auto hard_over_its_target = build({entry(kFile, "a/x", 1), hard_link("a", "a/x")});
  EXPECT_NE(links_of(hard_over_its_target).find("leads through \"a\""), std::string::npos)
      << "the directory went before the link was made";
}

TEST(EntryTable, AHardLinkToWhatTheLayerDoesNotHaveIsToTheOnesBelow) {
  EXPECT_EQ(links_of(build({hard_link("h", "a"), entry(kFile, "a", 1)})), "h=a");
  EXPECT_EQ(links_of(build({hard_link("h", "a"), hard_link("g", "h")})), "g=a h=a");
  EXPECT_EQ(links_of(build({symlink("lib", "usr/lib"), hard_link("h", "lib/a")})), "h=usr/lib/a");
  EXPECT_EQ(links_of(build({hard_link("h", "h")})), "h=h");
}

TEST(EntryTable, AHardLinksTargetIsFoundThroughSymlinks) {
  EXPECT_EQ(
      links_of(build({entry(kFile, "usr/lib/a", 1), symlink("lib", "usr/lib"), hard_link("h", "lib/a")})),
      "h==usr/lib/a");
  EXPECT_EQ(links_of(build({entry(kFile, "q", 1), symlink("s", "q"), hard_link("h", "s")})), "h==s")
      << "but for its last part";
  EXPECT_EQ(links_of(build({entry(kDirectory, "d", 1), hard_link("h", "d")})),
            "\"h\": a hard link to the directory \"d\"");
}

TEST(EntryTable, WhatIsHiddenCanBeLinkedTo) {
  TarEntry hidden = entry(kFile, ".wh..wh.plnk/1.2", 7);
  hidden.hidden = true;
  const auto table = build({hidden, hard_link("b", ".wh..wh.plnk/1.2"), hard_link("a", ".wh..wh.plnk/1.2")});
  EXPECT_EQ(listed(table), "a:99 b:7");
  EXPECT_EQ(links_of(table), "a==b");
}

TEST(EntryTable, AnEmptyLayer) { EXPECT_EQ(build({})->entry_count(), 0U); }

TEST(EntryTable, BoundsItsSize) {
  const EntryTable::Shape many{kMaxEntries + 1ULL, 0, 0, 0};
  EXPECT_NE(many.size_bytes().error().text.find("limit of 4000000"), std::string::npos);
  const EntryTable::Shape wide{1, ~0ULL / 8, 0, 0};
  EXPECT_NE(wide.size_bytes().error().text.find(str_cat("limit of ", kMaxEntryTableBytes)),
            std::string::npos);
}

class EntryTableDamage : public testing::Test {
 protected:
  void SetUp() override {
    TarEntry file = entry(kFile, "a/b");
    file.size_bytes = 100;
    file.extents = {{0, 512, 100}};
    file.xattrs = {{"user.x", "v"}};
    EntryTableBuilder builder;
    ASSERT_TRUE(builder.add(file));
    ASSERT_TRUE(builder.add(entry(kFile, "c")));
    auto table = builder.finish();
    ASSERT_TRUE(table);
    table_ = std::move(*table);
  }
  template <typename Record, typename Change>
  bool refused(std::size_t offset, Change change) {
    auto bytes = bytes_of(table_);
    change(*reinterpret_cast<Record*>(bytes.data() + offset));
    return !EntryTable::parse(std::move(bytes), table_.shape(), 10'000);
  }
  BuiltEntryTable table_;
};

TEST_F(EntryTableDamage, EveryBadFieldIsRefused) {
  using Record = EntryRecord;
  EXPECT_FALSE(refused<Record>(0, [](Record&) {}));
  EXPECT_TRUE(refused<Record>(0, [](Record& r) { r.type = 0; }));
  EXPECT_TRUE(refused<Record>(0, [](Record& r) { r.type = 99; }));
  EXPECT_TRUE(refused<Record>(0, [](Record& r) { r.mode = 010000; }));
  EXPECT_TRUE(refused<Record>(0, [](Record& r) { r.mtime_nsec = 1'000'000'000; }));
  EXPECT_TRUE(refused<Record>(0, [](Record& r) { r.path_offset = 1000; }));
  EXPECT_TRUE(refused<Record>(0, [](Record& r) { r.path_length = 2; })) << "\"a/\" is not clean";
  EXPECT_TRUE(refused<Record>(0, [](Record& r) { r.link_length = 60000; }));
  EXPECT_TRUE(refused<Record>(0, [](Record& r) { r.extent_count = 2; }));
  EXPECT_TRUE(refused<Record>(0, [](Record& r) { r.first_extent = 0xffffffff; }));
  EXPECT_TRUE(refused<Record>(0, [](Record& r) { r.xattr_count = 2; }));
  EXPECT_TRUE(refused<Record>(0, [](Record& r) { r.size_bytes = 99; })) << "an extent beyond the file";
  EXPECT_TRUE(refused<Record>(0, [](Record& r) {
    std::swap(r.path_offset, r.link_offset), r.path_length = 0, r.type = 5, r.link_length = 0;
  }));
  EXPECT_TRUE(refused<Record>(sizeof(Record), [](Record& r) { r.path_offset = 0, r.path_length = 3; }))
      << "the same path twice";
  EXPECT_TRUE(refused<Extent>(2 * sizeof(Record), [](Extent& e) { e.stream_offset = 9'901; }))
      << "beyond the stream";
  EXPECT_TRUE(refused<Extent>(2 * sizeof(Record), [](Extent& e) { e.length_bytes = ~0ULL; }));
  EXPECT_TRUE(refused<EntryXattrRecord>(2 * sizeof(Record) + sizeof(Extent),
                                        [](EntryXattrRecord& x) { x.value_length = 100; }));
}

TEST_F(EntryTableDamage, TheSizeMustFit) {
  auto bytes = bytes_of(table_);
  bytes.pop_back();
  EXPECT_FALSE(EntryTable::parse(std::move(bytes), table_.shape(), 10'000));
}

TEST_F(EntryTableDamage, RandomBytesNeverLeadAstray) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  std::mt19937 random(seed);
  for (int round = 0; round < 5000; ++round) {
    auto bytes = bytes_of(table_);
    for (int flips = 0; flips < 2; ++flips) bytes[random() % bytes.size()] = static_cast<std::byte>(random());
    const auto table = EntryTable::parse(std::move(bytes), table_.shape(), 10'000);
    for (std::uint32_t i = 0; table && i < table->entry_count(); ++i) {
      const EntryView view = table->entry(i);
      EXPECT_LE(view.path.size(), kMaxPathBytes);
    }
  }
}

}  // namespace
}  // namespace layerboot::layer
