// Bodies for objects of the image: whole, or not at all.
#include "oci-mount/overlay/copy_up.h"

#include <unistd.h>

#include <vector>

#include "oci-mount/layer/limits.h"
#include "tests/oci-mount/overlay/copy_up_fixture.h"

namespace layerboot::overlay {
namespace {

TEST_F(CopyUpTest, AFileIsCopiedWithAllThatItHas) {
  const auto node = copy("dir/file", CopyUp::kAllData);
  ASSERT_TRUE(node) << node.error().describe();
  EXPECT_EQ((*node)->id, row("dir/file"));
  EXPECT_TRUE((*node)->is_reached_as(load("dir"), "file"));
  EXPECT_FALSE((*node)->file.data_below);
  EXPECT_FALSE((*node)->way.is_durable()) << "its name is in no committed transaction";
  EXPECT_EQ(content("dir/file"), "0123456789");
  const Attr attr = *parts->objects.attr_of(**node);
  EXPECT_EQ(attr.mode, static_cast<std::uint32_t>(S_IFREG | 0640));
  EXPECT_EQ(attr.uid, 5U);
  EXPECT_EQ(attr.gid, 6U);
  EXPECT_EQ(attr.mtime, (Time{SmallImage::kMtime, SmallImage::kMtimeNsec}));
  EXPECT_EQ(marked("dir/file", "user.tag"), "of the image");
  EXPECT_EQ(marked("dir/file", marks().origin), "/dir/file");
  EXPECT_EQ(marked("dir/file", marks().metacopy), "none");
  expect_counted();
}

TEST_F(CopyUpTest, DirectoriesAboveAreAsTheImages) {
  ASSERT_TRUE(copy("dir/sub/below", CopyUp::kAllData));
  for (const char* path : {"dir", "dir/sub"}) {
    EXPECT_EQ(host(path).st_mtim.tv_sec, SmallImage::kMtime) << path << ": placing a copy is no change of it";
    EXPECT_EQ(parts->nodes.known(row(path))->lower, row(path));
  }
  EXPECT_FALSE(is_on_host("dir/file")) << "and nothing else";
  expect_counted();
}

TEST_F(CopyUpTest, LargeFilesAndHolesComeInPieces) {
  ASSERT_TRUE(copy("big", CopyUp::kAllData));
  EXPECT_TRUE(content("big") == image.data.substr(image.small.size()));
  ASSERT_TRUE(copy("sparse", CopyUp::kAllData));
  std::string expected(6000, '\0');
  expected.replace(0, 10, "0123456789").replace(5000, 5, "tail!");
  EXPECT_TRUE(content("sparse") == expected);
  expect_counted();
}

TEST_F(CopyUpTest, NoMoreDataThanIsKept) {
  const auto node = copy("dir/file", 4);
  ASSERT_TRUE(node);
  EXPECT_EQ(content("dir/file"), "0123");
  EXPECT_FALSE((*node)->file.data_below);
  ASSERT_TRUE(copy("big", 0));
  EXPECT_EQ(host("big").st_size, 0);
  EXPECT_EQ(marked("big", marks().metacopy), "none");
  EXPECT_EQ(image.blob->bytes_read(), layer::kPlainSpanBytes + 4)
      << "what is kept, out of a span that is whole";
}

TEST_F(CopyUpTest, WhatNeedsNoDataIsAMetacopy) {
  const auto node = copy("big", CopyUp::kNoData);
  ASSERT_TRUE(node);
  EXPECT_TRUE((*node)->file.data_below);
  EXPECT_EQ(marked("big", marks().metacopy), "");
  EXPECT_EQ(static_cast<std::size_t>(host("big").st_size), SmallImage::kBigBytes);
  EXPECT_LE(host("big").st_blocks, 8);
  EXPECT_EQ(image.blob->reads(), 0U);
  EXPECT_EQ(parts->objects.attr_of(**node)->blocks, lower.attr(row("big")).blocks) << "as the client knew it";
  expect_counted();
}

TEST_F(CopyUpTest, AnEmptyFileIsNoMetacopy) {
  const auto node = copy("dir/sub/below", CopyUp::kNoData);
  ASSERT_TRUE(node);
  EXPECT_FALSE((*node)->file.data_below);
  EXPECT_EQ(marked("dir/sub/below", marks().metacopy), "none");
}

TEST_F(CopyUpTest, AMetacopyIsFilledInPlace) {
  const NodePtr node = *copy("dir/file", CopyUp::kNoData);
  const auto ino = host("dir/file").st_ino;
  node->way.synced = node->way.changes;
  EXPECT_EQ(*copy("dir/file", CopyUp::kAllData), node);
  EXPECT_EQ(host("dir/file").st_ino, ino);
  EXPECT_EQ(content("dir/file"), "0123456789");
  EXPECT_EQ(marked("dir/file", marks().metacopy), "none");
  EXPECT_FALSE(node->file.data_below);
  EXPECT_FALSE(node->way.is_durable()) << "that the mark is gone is in no committed transaction";
  EXPECT_EQ(parts->objects.attr_of(*node)->mtime, (Time{SmallImage::kMtime, SmallImage::kMtimeNsec}));
  expect_counted();
}

TEST_F(CopyUpTest, AMetacopyIsCutToWhatIsKept) {
  ASSERT_TRUE(copy("dir/file", CopyUp::kNoData));
  ASSERT_TRUE(copy("dir/file", 3));
  EXPECT_EQ(content("dir/file"), "012");
  EXPECT_EQ(marked("dir/file", marks().metacopy), "none");
}

TEST_F(CopyUpTest, ACopyIsNotMadeTwice) {
  const NodePtr node = *copy("dir/file", CopyUp::kAllData);
  const auto reads = image.blob->reads();
  EXPECT_EQ(*copy("dir/file", CopyUp::kAllData), node);
  EXPECT_EQ(*copy("dir/file", CopyUp::kNoData), node);
  EXPECT_EQ(image.blob->reads(), reads);
}

TEST_F(CopyUpTest, AFileThatMayChangeGetsItsData) {
  lower.fixed_layers = 0;
  open();
  const auto node = copy("dir/file", CopyUp::kNoData);
  ASSERT_TRUE(node);
  EXPECT_FALSE((*node)->file.data_below);
  EXPECT_EQ(content("dir/file"), "0123456789");
}

/// Which another layer may cover some of, so that each would lead to other data.
TEST_F(CopyUpTest, AFileWithSeveralNamesGetsItsDataWhereAnyLayerMayChange) {
  lower.fixed_layers = 1;  // none of this image's data
  open();
  ASSERT_TRUE(copy("hard/a", CopyUp::kNoData));
  EXPECT_EQ(content("hard2/c"), "hard-linked");
  EXPECT_EQ(marked("hard2/c", marks().metacopy), "none");
  const auto single = copy("dir/file", CopyUp::kNoData);
  ASSERT_TRUE(single);
  EXPECT_TRUE((*single)->file.data_below) << "it has one name";
}

/// Of a layer that may be another the next time, names are told apart in another session only.
TEST_F(CopyUpTest, AllNamesOfACopyOfThisSessionAreOneObject) {
  lower.fixed_layers = 0;
  open();
  const auto node = copy("hard/a", CopyUp::kAllData);
  ASSERT_TRUE(node);
  const auto forget_name = [this] {  // as a directory that is read again
    const auto found = parts->directories.look(load("hard2"), "c");
    ASSERT_TRUE(found && found->in_upper());
    found->child->id = 0;
  };
  forget_name();
  EXPECT_EQ(load("hard2/c"), *node);
  ASSERT_TRUE(parts->nodes.is_row_released(row("hard/a"), 1));
  parts->objects.release_if_unused(*node);
  ASSERT_EQ(parts->nodes.known(row("hard/a")), nullptr);
  forget_name();
  ASSERT_NE(load("hard2/c"), nullptr);
  EXPECT_EQ(load("hard/a"), load("hard2/c"));
  open();
  EXPECT_GE(load("hard/a")->id, kUpperIdBase) << "in another session";
}

TEST_F(CopyUpTest, WhatIsNoFileIsCopiedAtOnce) {
  ASSERT_TRUE(copy("dir/link", CopyUp::kNoData));
  EXPECT_EQ(link_target_at(parts->places.keeping(), parts->places.place_of(load("dir/link"))->get()), "file");
  ASSERT_TRUE(copy("dir/pipe", CopyUp::kAllData));
  EXPECT_EQ(load("dir/pipe")->type, static_cast<std::uint32_t>(S_IFIFO));
  const auto directory = copy("dir/sub", CopyUp::kNoData);
  ASSERT_TRUE(directory);
  EXPECT_TRUE((*directory)->is_directory());
  expect_counted();
}

TEST_F(CopyUpTest, DirectoriesAreMadeOnce) {
  const auto first = copy_up().directory_of(row("dir/sub"));
  ASSERT_TRUE(first);
  EXPECT_EQ(*copy_up().directory_of(row("dir/sub")), *first);
  EXPECT_EQ(*copy_up().directory({*first, row("dir/sub")}), *first);
  parts->nodes.known(row("dir/sub"))->standing = Standing::kGone;
  EXPECT_EQ(code_of(copy_up().directory_of(row("dir/sub"))), ENOENT);
}

TEST_F(CopyUpTest, WithoutRoomNothingIsLeft) {
  parts->ledger.quota().set_limits({.bytes = 0, .inodes = 0});
  for (const char* path : {"dir/file", "dir/link", "dir/sub", "big"}) {
    EXPECT_EQ(code_of(copy(path, CopyUp::kAllData)), ENOSPC) << path;
    EXPECT_EQ(code_of(copy(path, CopyUp::kNoData)), ENOSPC) << path;
  }
  EXPECT_TRUE(std::filesystem::is_empty(on_host("")));
  EXPECT_EQ(code_of(copy_up().directory_of(row("dir"))), ENOSPC);
  EXPECT_TRUE(copy_up().directory_of(row("dir"), Budget::kMakesRoom)) << "to hold a whiteout";
}

TEST_F(CopyUpTest, NorAtTheMemoryLimit) {
  take_all_memory();
  EXPECT_EQ(code_of(copy("dir/file", CopyUp::kAllData)), ENOMEM);
  give_memory_back();
  EXPECT_TRUE(std::filesystem::is_empty(on_host("")));
  EXPECT_TRUE(copy("dir/file", CopyUp::kAllData));
}

TEST_F(CopyUpTest, DataThatCannotBeReadLeavesNothing) {
  image.blob->set_error(EIO);
  EXPECT_EQ(code_of(copy("dir/file", CopyUp::kAllData)), EIO);
  EXPECT_FALSE(is_on_host("dir"));
  EXPECT_EQ(parts->ledger.quota().usage().inodes, 0U);
  image.blob->set_error(0);
  EXPECT_TRUE(copy("dir/file", CopyUp::kAllData)) << "the next one tries again";
}

TEST_F(CopyUpTest, AMetacopyThatCannotBeFilledStaysOne) {
  const NodePtr node = *copy("big", CopyUp::kNoData);
  image.blob->set_error(EIO);
  EXPECT_EQ(code_of(copy("big", CopyUp::kAllData)), EIO);
  EXPECT_TRUE(node->file.data_below);
  EXPECT_FALSE(node->file.filling);
  EXPECT_EQ(marked("big", marks().metacopy), "");
  EXPECT_EQ(static_cast<std::size_t>(host("big").st_size), SmallImage::kBigBytes);
  EXPECT_EQ(parts->objects.attr_of(*node)->mtime, lower.attr(row("big")).mtime);
  image.blob->set_error(0);
  ASSERT_TRUE(copy("big", CopyUp::kAllData));
  EXPECT_TRUE(content("big") == image.data.substr(image.small.size()));
  expect_counted();
}

TEST_F(CopyUpTest, LostDataIsRefusedUnlessNoneIsWanted) {
  make("lost", S_IFREG | 0644);
  mark("lost", marks().metacopy, "");
  ASSERT_EQ(::truncate(on_host("lost").c_str(), 10), 0);
  const NodePtr node = load("lost");
  ASSERT_TRUE(node->file.data_lost);
  parts->nodes.add_reference(*node);
  const auto ask = [&](std::optional<std::uint64_t> data_bytes) {
    return code_of(Result<Pin>(reactor->block_on(copy_up().copy_up(*reactor, node->id, data_bytes))));
  };
  EXPECT_EQ(ask(CopyUp::kNoData), 0);
  EXPECT_EQ(ask(CopyUp::kAllData), EIO);
  EXPECT_EQ(ask(1), EIO);
  EXPECT_EQ(ask(0), 0);
  EXPECT_FALSE(node->file.data_lost);
  EXPECT_EQ(host("lost").st_size, 0);
  EXPECT_EQ(marked("lost", marks().metacopy), "none");
}

// All of them while the first waits for the image.
TEST_F(CopyUpTest, ManyRequestsWaitForOneCopy) {
  hold("dir/file");
  image.blob->hold();
  std::vector<NodePtr> nodes;
  for (const auto data : {CopyUp::kAllData, std::uint64_t{5}, CopyUp::kAllData}) {
    start(copy_up().copy_up(*reactor, row("dir/file"), data), [&](Result<Pin> pin) {
      ASSERT_TRUE(pin) << pin.error().describe();
      nodes.push_back(pin->node());
    });
  }
  start(copy_up().copy_up(*reactor, row("dir/file"), CopyUp::kNoData),
        [&](const Result<Pin>& pin) { nodes.push_back(pin->node()); });
  EXPECT_TRUE(nodes.empty());
  EXPECT_FALSE(is_on_host("dir/file")) << "no half copy is ever seen";
  EXPECT_EQ(work_names().size(), 1U);
  image.blob->release();
  const NodePtr node = *copy("dir/file", CopyUp::kAllData);
  while (nodes.size() < 4) ASSERT_TRUE(copy("dir/sub", CopyUp::kNoData));  // turns the reactor
  EXPECT_EQ(nodes, std::vector<NodePtr>(4, node));
  EXPECT_EQ(image.blob->reads(), 2U) << "of the span, and of the file";
  EXPECT_EQ(content("dir/file"), "0123456789");
}

TEST_F(CopyUpTest, WhoWaitedForACopyThatFailedTriesItself) {
  hold("dir/file");
  image.blob->hold();
  std::vector<int> codes;
  for (int i = 0; i < 3; ++i) {
    start(copy_up().copy_up(*reactor, row("dir/file"), CopyUp::kAllData),
          [&](const Result<Pin>& pin) { codes.push_back(code_of(pin)); });
  }
  image.blob->set_error(EIO);
  image.blob->release();
  EXPECT_EQ(code_of(copy("dir/file", CopyUp::kAllData)), EIO);
  while (codes.size() < 3) static_cast<void>(copy("dir/file", CopyUp::kAllData));
  EXPECT_EQ(codes, std::vector<int>(3, EIO));
}

}  // namespace
}  // namespace layerboot::overlay
