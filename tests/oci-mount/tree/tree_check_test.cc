// A torn or hostile index file gives an error, whichever byte is wrong.
#include "oci-mount/tree/tree_check.h"

#include <gtest/gtest.h>
#include <xxhash.h>

#include <cstring>
#include <random>

#include "tests/oci-mount/tree/built_tree.h"

namespace layerboot::tree {
namespace {

class TreeCheckTest : public testing::Test {
 protected:
  void SetUp() override {
    FakeLayer layer("sha256:one");
    layer.directory("d");
    layer.file("d/f", 5000, 512).xattrs = {{"user.a", "1"}, {"user.b", "2"}};
    layer.hard_link("d/g", "d/f");
    layer.symlink("s", "d/f");
    layer.directory("e");
    layer.file("e/h", 1, 8192);
    const LayerEntries* const one = &layer;
    key_ = tree_key(std::span(&one, 1));
    auto built = tree_file(std::span(&one, 1), key_);
    ASSERT_TRUE(built);
    file_ = *built;
  }
  TreeHeader header() const {
    TreeHeader header{};
    std::memcpy(&header, file_.data(), sizeof header);
    return header;
  }
  // With the hash made right, so that what it guards is checked.
  static std::string rehashed(std::string file) {
    const std::uint64_t hash =
        XXH3_64bits(file.data() + sizeof(TreeHeader), file.size() - sizeof(TreeHeader));
    std::memcpy(file.data() + offsetof(TreeHeader, body_hash), &hash, sizeof hash);
    return file;
  }
  template <typename Record, typename Value>
  std::string with(TableRef table, std::size_t index, Value Record::* field, Value value) const {
    std::string file = file_;
    Record record;
    char* at = file.data() + table.offset + index * sizeof record;
    std::memcpy(&record, at, sizeof record);
    record.*field = value;
    std::memcpy(at, &record, sizeof record);
    return rehashed(file);
  }
  void expect_refused(const std::string& file, const char* why) const {
    const auto opened = open_bytes(file, key_);
    ASSERT_FALSE(opened) << why;
    EXPECT_EQ(opened.error().code, EBADMSG) << why;
  }

  std::string key_;
  std::string file_;
};

TEST_F(TreeCheckTest, AcceptsWhatTheBuilderWrites) {
  const auto opened = open_bytes(file_, key_);
  EXPECT_TRUE(opened) << opened.error().describe();
}

TEST_F(TreeCheckTest, AnotherKeyOrVersionIsStale) {
  EXPECT_EQ(open_bytes(file_, "sha256:two\n").error().code, ESTALE);
  std::string newer = file_;
  newer[offsetof(TreeHeader, version)] = kTreeFormatVersion + 1;
  EXPECT_EQ(open_bytes(newer, key_).error().code, ESTALE);
}

TEST_F(TreeCheckTest, EveryShorterFileIsRefused) {
  for (std::size_t size = 0; size < file_.size(); ++size) {
    EXPECT_FALSE(open_bytes(
        rehashed(file_.substr(0, size) + std::string(sizeof(TreeHeader), 0)).substr(0, size), key_))
        << size;
  }
}

TEST_F(TreeCheckTest, EveryFlippedByteIsRefused) {
  for (std::size_t i = 0; i < file_.size(); ++i) {
    std::string flipped = file_;
    flipped[i] = static_cast<char>(flipped[i] ^ 0x41);
    EXPECT_FALSE(open_bytes(flipped, key_)) << i;
  }
}

TEST_F(TreeCheckTest, WrongRecordsUnderARightHashAreRefused) {
  const TreeHeader h = header();  // ids: 1 root, 2 d, 3 e, 4 s, 5 d/f, 6 e/h
  expect_refused(with(h.nodes, 0, &NodeRecord::mode, 0100644U), "root no directory");
  expect_refused(with(h.nodes, 0, &NodeRecord::parent, 2U), "root with a parent");
  expect_refused(with(h.nodes, 0, &NodeRecord::nlink, 9U), "directory's nlink");
  expect_refused(with(h.nodes, 1, &NodeRecord::parent, 3U), "directory's parent");
  expect_refused(with(h.nodes, 4, &NodeRecord::parent, 3U), "file's parent");
  expect_refused(with(h.nodes, 1, &NodeRecord::child_count, 0xffffffffU), "child count");
  expect_refused(with(h.nodes, 1, &NodeRecord::first_child, 0U), "children of another");
  expect_refused(with(h.nodes, 4, &NodeRecord::nlink, 1U), "file's nlink");
  expect_refused(with(h.nodes, 4, &NodeRecord::link_count, 0U), "links missing");
  expect_refused(with(h.nodes, 4, &NodeRecord::first_link, 0xffffffffU), "links outside");
  expect_refused(with(h.nodes, 4, &NodeRecord::first_xattr, 1U), "xattrs of another");
  expect_refused(with(h.nodes, 4, &NodeRecord::xattr_count, 3U), "xattr count");
  expect_refused(with(h.nodes, 4, &NodeRecord::size_bytes, std::uint64_t{4999}), "extent past the end");
  expect_refused(with(h.nodes, 4, &NodeRecord::blocks, std::uint64_t{1} << 60), "blocks");
  expect_refused(with(h.nodes, 4, &NodeRecord::mtime_nsec, 1'000'000'000U), "nanoseconds");
  expect_refused(with(h.nodes, 3, &NodeRecord::child_count, 0xffffU), "symlink outside the pool");
  expect_refused(with(h.nodes, 3, &NodeRecord::mode, 0U), "no type");
  expect_refused(with(h.dirents, 0, &DirentRecord::node, 1U), "root as a child");
  expect_refused(with(h.dirents, 0, &DirentRecord::node, 3U), "numbering with a gap");
  expect_refused(with(h.dirents, 1, &DirentRecord::node, 2U), "a directory twice");
  expect_refused(with(h.dirents, 5, &DirentRecord::node, 3U), "a directory below itself");
  expect_refused(with(h.dirents, 0, &DirentRecord::name_length, std::uint16_t{0}), "empty name");
  expect_refused(with(h.dirents, 0, &DirentRecord::name_offset, 0xfffffff0U), "name outside the pool");
  expect_refused(with(h.dirents, 0, &DirentRecord::type, std::uint8_t{8}), "type of an entry");
  expect_refused(with(h.extents, 0, &ExtentRecord::layer, 128U), "layer number");
  expect_refused(with(h.extents, 0, &ExtentRecord::length_bytes, ~std::uint64_t{0}), "extent's length");
  expect_refused(with(h.extents, 0, &ExtentRecord::stream_offset, ~std::uint64_t{0}), "extent's place");
  expect_refused(with(h.xattrs, 1, &XattrRecord::value_length, 0xffffffffU), "xattr outside the pool");
  expect_refused(with(h.xattrs, 0, &XattrRecord::name_length, std::uint16_t{0}), "xattr without a name");
  expect_refused(with(h.links, 0, &LinkRecord::parent, 9U), "link's parent");
  expect_refused(with(h.links, 1, &LinkRecord::name_offset, 0U), "link's name");
}

TEST_F(TreeCheckTest, RandomDamageUnderARightHashNeverCrashes) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE(str_cat("seed ", seed));
  std::mt19937 random(seed);
  for (int round = 0; round < 3000; ++round) {
    std::string file = file_;
    for (int i = 0; i < 3; ++i) file[random() % file.size()] = static_cast<char>(random());
    const auto opened = open_bytes(rehashed(file), key_);
    if (!opened) continue;
    const Tree& tree = **opened;
    for (NodeId id = kRoot; id <= tree.node_count(); ++id) {
      for (const DirentRecord& entry : tree.entries(id))
        EXPECT_EQ(tree.lookup(id, tree.name(entry)), entry.node);
      for (const XattrRecord& xattr : tree.xattrs(id))
        EXPECT_EQ(tree.xattr(id, tree.xattr_name(xattr)), tree.xattr_value(xattr));
      for (const LinkRecord& link : tree.links(id)) EXPECT_EQ(tree.lookup(link.parent, tree.name(link)), id);
    }
  }
}

}  // namespace
}  // namespace layerboot::tree
