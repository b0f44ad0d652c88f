// An entry table that lies in a scratch file while it is built.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <random>
#include <string>
#include <vector>

#include "oci-mount/base/str_cat.h"
#include "oci-mount/layer/entry_table_builder.h"
#include "tests/support/built_tables.h"
#include "tests/support/temp_dir.h"

namespace layerboot::layer {
namespace {

/// Entries of every kind over few names, so that they meet. Only directories, and symlinks to such, are led
/// through, and links are to files: what can't be unpacked would end the layer.
std::vector<TarEntry> random_entries(std::mt19937& random, std::size_t count) {
  const auto below = [&random](std::uint32_t end) { return static_cast<std::uint32_t>(random() % end); };
  const auto path = [&below](std::string_view last) {
    std::string made;
    for (auto depth = below(4); depth > 0; --depth)
      made += str_cat(below(9) == 0 ? "s" : "d", below(20), "/");
    return str_cat(made, last, below(40));
  };
  constexpr std::array kTypes{EntryType::kFile,     EntryType::kFile,     EntryType::kDirectory,
                              EntryType::kSymlink,  EntryType::kHardLink, EntryType::kFifo,
                              EntryType::kWhiteout, EntryType::kOpaque};
  std::vector<TarEntry> entries;
  while (entries.size() < count) {
    const EntryType type = kTypes.at(below(kTypes.size()));
    const bool is_directory = type == EntryType::kDirectory || type == EntryType::kOpaque;
    TarEntry one;
    one.type = type;
    one.path = path(is_directory ? "d" : "f");
    one.uid = below(1000);
    if (type == EntryType::kSymlink) one.link = "target";
    if (type == EntryType::kSymlink && below(2) == 0) {
      one.path = str_cat("s", below(20));
      one.link = str_cat("/d", below(20), "/d", below(40));
    }
    if (type == EntryType::kHardLink) one.link = path("f");
    if (type == EntryType::kFile) {
      one.size_bytes = 10;
      one.extents = {{0, below(9000), 10}};
      if (below(4) == 0) one.xattrs = {{"user.x", std::string(below(300), 'v')}};
      one.hidden = below(50) == 0;
    }
    entries.push_back(std::move(one));
  }
  return entries;
}

TEST(EntryTableSpill, IsTheSameWhateverOfItWasInAFileMeanwhile) {
  const test::TempDir dir;
  const std::uint32_t seed = std::random_device()();
  RecordProperty("seed", std::to_string(seed));
  SCOPED_TRACE(str_cat("seed ", seed));
  std::mt19937 random(seed);
  auto scratch = AtomicFile::create(dir / "scratch");
  ASSERT_TRUE(scratch);
  EntryTableBuilder held;
  EntryTableBuilder spilling(&*scratch);
  for (const TarEntry& one : random_entries(random, 30'000)) {
    for (EntryTableBuilder* const builder : {&held, &spilling}) {
      const auto added = builder->add(one);
      ASSERT_TRUE(added) << added.error().text;
    }
  }
  EXPECT_GT(scratch->size_bytes(), std::uint64_t{1} << 20U);
  const auto table = held.finish();
  const auto spilled = spilling.finish();
  ASSERT_TRUE(table && spilled);
  EXPECT_TRUE(test::bytes_of(*table) == test::bytes_of(*spilled));
  const auto parsed = EntryTable::parse(test::bytes_of(*spilled), spilled->shape(), 10'000);
  EXPECT_TRUE(parsed) << parsed.error().text;
}

TEST(EntryTableSpill, AScratchFileThatCannotBeWrittenEndsTheBuild) {
  const int full = ::open("/dev/full", O_RDWR | O_CLOEXEC);
  ASSERT_GE(full, 0);
  FileAppender scratch(full, "the scratch file");
  EntryTableBuilder builder(&scratch);
  Result<void> added;
  for (int i = 0; added && i < 10'000; ++i) {
    TarEntry one;
    one.path = str_cat("f", i);
    added = builder.add(one);
  }
  ::close(full);
  ASSERT_FALSE(added);
  EXPECT_EQ(added.error().code, ENOSPC);
  EXPECT_NE(added.error().text.find("scratch file"), std::string::npos) << added.error().text;
}

}  // namespace
}  // namespace layerboot::layer
