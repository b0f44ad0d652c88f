// What a node's record says, from entry to tree.
#include "oci-mount/tree/tree_image.h"

#include <dirent.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "tests/oci-mount/tree/built_tree.h"

namespace layerboot::tree {
namespace {

using layer::EntryType;

Result<std::unique_ptr<const Tree>> tree_of(const FakeLayer& layer) {
  const LayerEntries* const one = &layer;
  return build_and_open(std::span(&one, 1));
}

TEST(TreeImage, KeepsEveryAttribute) {
  FakeLayer layer("l");
  layer::EntryView& file = layer.file("f", 5000, 1536);
  file.mode = 06751;
  file.uid = 4'000'000'000;
  file.gid = 5;
  file.mtime_sec = -1;
  file.mtime_nsec = 999'999'999;
  file.xattrs = {{"user.b", "2"},
                 {"security.capability", std::string_view("\0\1", 2)},
                 {"trusted.overlay.opaque", "y"},
                 {"trusted.overlay.layerboot.guest.trusted.overlay.opaque", "x"}};
  const auto tree = tree_of(layer);
  ASSERT_TRUE(tree) << tree.error().describe();
  const NodeId id = node_at(**tree, "f");
  const NodeRecord& node = (*tree)->node(id);
  EXPECT_EQ(node.mode, S_IFREG | 06751U);
  EXPECT_EQ(node.uid, 4'000'000'000U);
  EXPECT_EQ(node.gid, 5U);
  EXPECT_EQ(node.mtime_sec, -1);
  EXPECT_EQ(node.mtime_nsec, 999'999'999U);
  EXPECT_EQ(node.size_bytes, 5000U);
  EXPECT_EQ(node.blocks, 16U);
  EXPECT_EQ((*tree)->total_blocks(), 16U);
  EXPECT_EQ((*tree)->layer_count(), 1U);
  ASSERT_EQ((*tree)->xattrs(id).size(), 3U) << "overlayfs's own attributes are dropped";
  EXPECT_EQ((*tree)->xattr(id, "trusted.overlay.opaque"), "x") << "but not the guest's";
  EXPECT_EQ((*tree)->xattr_name((*tree)->xattrs(id)[0]), "security.capability");
  EXPECT_EQ((*tree)->xattr(id, "security.capability"), std::string_view("\0\1", 2));
  EXPECT_EQ((*tree)->xattr(id, "user.b"), "2");
  EXPECT_EQ((*tree)->xattr(id, "user.c"), std::nullopt);
}

TEST(TreeImage, HolesTakeNoBlocks) {
  FakeLayer layer("l");
  layer::EntryView& file = layer.file("sparse");
  file.size_bytes = 1'000'000;
  file.extents = layer.extents({{0, 512, 1}, {4096, 513, 4097}, {999'999, 9000, 1}});
  const auto tree = tree_of(layer);
  ASSERT_TRUE(tree) << tree.error().describe();
  const NodeId id = node_at(**tree, "sparse");
  EXPECT_EQ((*tree)->node(id).blocks, 8U + 16U + 8U);
  ASSERT_EQ((*tree)->extents(id).size(), 3U);
  EXPECT_EQ((*tree)->extents(id)[1].file_offset, 4096U);
}

TEST(TreeImage, DevicesSymlinksAndFifos) {
  FakeLayer layer("l");
  layer::EntryView& device = layer.add(EntryType::kBlockDevice, "b");
  device.rdev_major = 259;
  device.rdev_minor = 0x12345;
  layer.add(EntryType::kFifo, "p");
  layer.symlink("s", "/over/there");
  const auto tree = tree_of(layer);
  ASSERT_TRUE(tree) << tree.error().describe();
  EXPECT_EQ((*tree)->node(node_at(**tree, "b")).rdev, 0x45U | (259U << 8) | (0x12300U << 12));
  EXPECT_TRUE(S_ISFIFO((*tree)->node(node_at(**tree, "p")).mode));
  EXPECT_EQ((*tree)->symlink_target(node_at(**tree, "s")), "/over/there");
  EXPECT_EQ((*tree)->node(node_at(**tree, "s")).size_bytes, 11U);
  EXPECT_EQ((*tree)->symlink_target(node_at(**tree, "p")), "");
  EXPECT_EQ((*tree)->lookup(node_at(**tree, "s"), "x"), kNoNode);
}

TEST(TreeImage, NumbersBreadthFirstAndSortsEntries) {
  FakeLayer layer("l");
  for (const std::string_view path : {"b/y", "a/x/deep", "c", "a-"}) layer.file(path);
  const auto tree = tree_of(layer);
  ASSERT_TRUE(tree) << tree.error().describe();
  std::string names;
  for (const DirentRecord& entry : (*tree)->entries(kRoot))
    names += str_cat((*tree)->name(entry), ":", entry.node, " ");
  EXPECT_EQ(names, "a:2 a-:3 b:4 c:5 ");
  EXPECT_EQ(node_at(**tree, "a/x"), 6U);
  EXPECT_EQ(node_at(**tree, "b/y"), 7U);
  EXPECT_EQ(node_at(**tree, "a/x/deep"), 8U);
  EXPECT_EQ((*tree)->parent(6), 2U);
  EXPECT_EQ((*tree)->parent(kRoot), kRoot);
  EXPECT_EQ((*tree)->parent(8), 6U);
  EXPECT_EQ((*tree)->name_in_parent(8), "deep");
  EXPECT_EQ((*tree)->name_in_parent(kRoot), "");
  EXPECT_EQ((*tree)->path(8), "/a/x/deep");
  EXPECT_EQ((*tree)->path(kRoot), "/");
  EXPECT_EQ((*tree)->entries(kRoot)[0].type, DT_DIR);
  EXPECT_EQ((*tree)->node(kRoot).nlink, 4U);
  EXPECT_FALSE((*tree)->contains(0));
  EXPECT_TRUE((*tree)->contains(8));
  EXPECT_FALSE((*tree)->contains(9));
}

TEST(TreeImage, RefusesWhatNoFileCanBe) {
  const auto error_of = [](auto&& change) {
    FakeLayer layer("l");
    change(layer);
    const auto tree = tree_of(layer);
    return tree ? std::string("accepted") : tree.error().describe();
  };
  EXPECT_NE(error_of([](FakeLayer& l) { l.symlink("s", ""); }).find("layer 0 (l): s: symlink target"),
            std::string::npos);
  EXPECT_NE(error_of([](FakeLayer& l) { l.symlink("s", std::string(4096, 'x')); }).find("symlink target"),
            std::string::npos);
  EXPECT_NE(
      error_of([](FakeLayer& l) { l.add(EntryType::kCharDevice, "c").rdev_major = 4096; }).find("4096:0"),
      std::string::npos);
  EXPECT_NE(error_of([](FakeLayer& l) { l.file("f").mtime_nsec = 1'000'000'000; }).find("nanoseconds"),
            std::string::npos);
  EXPECT_NE(error_of([](FakeLayer& l) { l.file("f").mode = 0100644; }).find("permission"), std::string::npos);
  EXPECT_NE(error_of([](FakeLayer& l) { l.file("f", 10).size_bytes = 9; }).find("extents"),
            std::string::npos);
  EXPECT_NE(
      error_of([](FakeLayer& l) { l.file("f").xattrs = {{"user.a", "1"}, {"user.a", "2"}}; }).find("twice"),
      std::string::npos);
  EXPECT_NE(error_of([](FakeLayer& l) {
              l.file("f").xattrs = {{"user.a", l.keep(std::string(65536, 'v'))}};
            }).find("65536"),
            std::string::npos);
}

}  // namespace
}  // namespace layerboot::tree
