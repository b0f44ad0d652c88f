#include "oci-mount/layer/entry_table.h"

#include <gtest/gtest.h>

#include <random>

#include "oci-mount/layer/entry_table_builder.h"
#include "oci-mount/layer/limits.h"

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

Result<EntryTable> build(const std::vector<TarEntry>& entries, std::uint64_t stream_bytes = 10'000) {
  EntryTableBuilder builder;
  for (const TarEntry& one : entries) LB_TRY(builder.add(one));
  LB_ASSIGN(auto table, builder.finish());
  return EntryTable::parse(std::move(table.bytes), table.shape, stream_bytes);
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
  EXPECT_EQ(
      listed(build({entry(kFile, "a/b", 1), entry(EntryType::kSymlink, "a", 2), entry(kFile, "a/c", 3)})),
      "a/c:3")
      << "and what comes later below it takes the file's place";
  EXPECT_EQ(listed(build({entry(kFile, "a", 1), entry(kDirectory, "a", 2), entry(kFile, "a/b", 3)})),
            "a:2 a/b:3");
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
    table_ = *builder.finish();
  }
  template <typename Record, typename Change>
  bool refused(std::size_t offset, Change change) {
    auto bytes = table_.bytes;
    change(*reinterpret_cast<Record*>(bytes.data() + offset));
    return !EntryTable::parse(std::move(bytes), table_.shape, 10'000);
  }
  EntryTableBuilder::Table table_;
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
  auto bytes = table_.bytes;
  bytes.pop_back();
  EXPECT_FALSE(EntryTable::parse(std::move(bytes), table_.shape, 10'000));
}

TEST_F(EntryTableDamage, RandomBytesNeverLeadAstray) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  std::mt19937 random(seed);
  for (int round = 0; round < 5000; ++round) {
    auto bytes = table_.bytes;
    for (int flips = 0; flips < 2; ++flips) bytes[random() % bytes.size()] = static_cast<std::byte>(random());
    const auto table = EntryTable::parse(std::move(bytes), table_.shape, 10'000);
    for (std::uint32_t i = 0; table && i < table->entry_count(); ++i) {
      const EntryView view = table->entry(i);
      EXPECT_LE(view.path.size(), kMaxPathBytes);
    }
  }
}

}  // namespace
}  // namespace layerboot::layer
