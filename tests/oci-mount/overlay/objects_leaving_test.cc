// How objects go: out of memory, and off the host.
#include <latch>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "oci-mount/overlay/objects.h"
#include "tests/oci-mount/overlay/objects_fixture.h"

namespace layerboot::overlay {
namespace {

TEST_F(ObjectsTest, AnUnlinkedFileGoesWithTheLastReference) {
  const Quota::Usage before = usage();
  const NodePtr node = made("file", 64U << 10U);
  move_to_work(node);
  EXPECT_EQ(objects().attr_of(*node)->nlink, 0U) << "its name in the work directory is none";
  objects().release_if_unused(node);
  EXPECT_EQ(work_names().size(), 1U);
  forget(node);
  EXPECT_TRUE(work_names().empty());
  EXPECT_TRUE(node->is_gone());
  EXPECT_EQ(usage().inodes, before.inodes);
  EXPECT_LE(usage().bytes, before.bytes + 4096) << "the directory may keep a block";
}

TEST_F(ObjectsTest, OneThatHasOtherNamesStays) {
  const NodePtr node = made("file");
  ASSERT_TRUE(link_at({root_fd(), "file"}, {root_fd(), "other"}));
  const auto inodes = usage().inodes;
  move_to_work(node);
  EXPECT_EQ(objects().attr_of(*node)->nlink, 1U);
  forget(node);
  EXPECT_TRUE(work_names().empty());
  EXPECT_EQ(usage().inodes, inodes);
  EXPECT_EQ(parts->nodes.known(node->id), nullptr);
}

TEST_F(ObjectsTest, AFileInWorkThatIsMetByANameIsKeptByThat) {
  const NodePtr node = made("file");
  ASSERT_TRUE(link_at({root_fd(), "file"}, {root_fd(), "other"}));
  move_to_work(node);
  Child child = child_of(node);
  const auto met = objects().load(root(), "other", child);
  ASSERT_TRUE(met);
  EXPECT_EQ(*met, node);
  EXPECT_TRUE(node->is_reached_as(root(), "other"));
  EXPECT_TRUE(work_names().empty());
}

TEST_F(ObjectsTest, AnOrphanIsKeptByItsDescriptorAlone) {
  const Quota::Usage before = usage();
  const NodePtr node = made("file", 64U << 10U);
  ASSERT_TRUE(objects().make_orphan(*node));
  EXPECT_EQ(parts->places.open_fd(*node), nullptr) << "its own now";
  objects().unmake_orphan(*node);
  EXPECT_EQ(node->standing, Standing::kNamed);
  EXPECT_EQ(node->orphan, nullptr);
  ASSERT_TRUE(objects().make_orphan(*node));
  ASSERT_TRUE(unlink_at({root_fd(), "file"}));
  parts->nodes.move(node, nullptr, {});
  node->known.valid = false;
  EXPECT_EQ(objects().attr_of(*node)->nlink, 0U);
  EXPECT_GE(usage().bytes, before.bytes + (64U << 10U)) << "still there";
  forget(node);
  EXPECT_TRUE(node->is_gone());
  EXPECT_EQ(usage().inodes, before.inodes);
}

TEST_F(ObjectsTest, OnlyFilesOfTheUpperThatAreHeldBecomeOrphans) {
  const NodePtr unheld = made("unheld");
  ASSERT_TRUE(parts->places.file_fd(unheld));
  parts->nodes.take_references(*unheld, 1);
  EXPECT_FALSE(objects().make_orphan(*unheld));
  make("copy", S_IFREG | 0644);
  mark("copy", marks().origin, "/dir/file");
  open();  // to meet it as a start does
  const NodePtr copy = load("copy");
  parts->nodes.add_reference(*copy);
  ASSERT_TRUE(parts->places.file_fd(copy));
  EXPECT_FALSE(objects().make_orphan(*copy)) << "of the image: its number stays with it";
}

TEST_F(ObjectsTest, OrphansAreFew) {
  std::vector<NodePtr> orphans;
  for (int i = 0;; ++i) {
    ASSERT_LT(i, 2000);
    const NodePtr node = made("f" + std::to_string(i));
    ASSERT_TRUE(parts->places.file_fd(node));
    if (!objects().make_orphan(*node)) break;
    orphans.push_back(node);
  }
  EXPECT_FALSE(orphans.empty());
  EXPECT_LE(orphans.size(), 256U);
  forget(orphans.back());
  const NodePtr another = made("another");
  ASSERT_TRUE(parts->places.file_fd(another));
  EXPECT_TRUE(objects().make_orphan(*another)) << "one has gone";
}

TEST_F(ObjectsTest, LargeFilesAreHeldOverTheirRemoval) {
  const NodePtr small = made("small", 1U << 20U);
  EXPECT_FALSE(objects().hold_large(*small, parts->places.place_of(small)->get()));
  const NodePtr large = made("large", 9U << 20U);
  SharedFd held = objects().hold_large(*large, parts->places.place_of(large)->get());
  ASSERT_TRUE(held);
  ASSERT_TRUE(unlink_at({root_fd(), "large"}));
  EXPECT_EQ(stat_at({held->get(), ""})->st_nlink, 0U);
  objects().bury(*large, std::move(held));
  EXPECT_TRUE(large->is_gone());
  objects().bury(*small, nullptr);
  EXPECT_EQ(usage().bytes, 0U);
}

TEST_F(ObjectsTest, WhatALargeFileHeldIsToBeHadWhenTheHostHasFreedIt) {
  const NodePtr large = made("large", 9U << 20U);
  ASSERT_TRUE(parts->places.file_fd(large));
  ASSERT_TRUE(objects().make_orphan(*large));
  ASSERT_TRUE(unlink_at({root_fd(), "large"}));
  const std::weak_ptr<const UniqueFd> last = large->orphan;
  {
    const std::lock_guard lock(parts->mutex);
  }  // closes what was let go of
  const auto worker_is_free = std::make_shared<std::latch>(1);
  image.workers.submit([worker_is_free] { worker_is_free->wait(); });
  forget(large);
  EXPECT_TRUE(large->is_gone());
  EXPECT_EQ(usage().bytes, 0U);
  EXPECT_FALSE(last.expired());
  const std::uint64_t nearly_all = kLimits.bytes - (4U << 20U);
  EXPECT_EQ(code_of(parts->ledger.quota().reserve(nearly_all, 0)), ENOSPC) << "the host has it still";
  const auto reserved = parts->ledger.reserve(nearly_all, 0);
  EXPECT_TRUE(reserved || last.expired()) << "who needs it frees it";
  EXPECT_TRUE(last.expired());
  worker_is_free->count_down();
}

TEST_F(ObjectsTest, ADirectoryThatIsGoneAnswersTheClientStill) {
  make("directory", S_IFDIR | 0755);
  const NodePtr node = load("directory");
  ASSERT_TRUE(parts->directories.listing_of(node));
  ASSERT_TRUE(parts->places.directory_fd(node));
  EXPECT_EQ(objects().hold_directory(node), nullptr) << "nobody holds it";
  objects().drop_directory(*node, nullptr);
  EXPECT_TRUE(node->is_gone() && node->is_removed());
  EXPECT_EQ(node->directory.listing, nullptr);
  EXPECT_EQ(parts->places.open_fd(*node), nullptr);
  ASSERT_TRUE(objects().attr_of(*node));
  EXPECT_EQ(objects().attr_of(*node)->nlink, 0U);
}

TEST_F(ObjectsTest, ADirectoryThatTheClientHoldsLivesOnWithoutItsName) {
  make("directory", S_IFDIR | 0750);
  const NodePtr node = load("directory");
  parts->nodes.add_reference(*node);
  parts->ledger.add_object();
  parts->ledger.quota().settle_bytes(0, node->charge.bytes);
  SharedFd held = objects().hold_directory(node);
  ASSERT_TRUE(held);
  ASSERT_TRUE(unlink_at({root_fd(), "directory"}, AT_REMOVEDIR));
  objects().drop_directory(*node, std::move(held));
  EXPECT_TRUE(node->is_removed() && node->has_body());
  ASSERT_TRUE(set_times_at(parts->places.place_of(node)->get(),
                           {{.tv_sec = 5, .tv_nsec = 0}, {.tv_sec = 6, .tv_nsec = 0}}));
  const auto attr = objects().attr_of(*node);
  ASSERT_TRUE(attr);
  EXPECT_EQ(attr->nlink, 0U);
  EXPECT_EQ(attr->mtime.sec, 6);
  EXPECT_EQ(usage().inodes, 1U);
  forget(node);
  EXPECT_TRUE(node->is_gone());
  EXPECT_EQ(usage().inodes, 0U);
  EXPECT_EQ(usage().bytes, 0U);
}

class ObjectsOnTmpfsTest : public PartsOnTmpfsTest {};

TEST_F(ObjectsOnTmpfsTest, ADirectoryThatIsGoneTakesItsWhiteoutsAlong) {
  make("directory", S_IFDIR | 0755);
  const NodePtr node = load("directory");
  ASSERT_TRUE(parts->directories.listing_of(node));
  const auto before = parts->ledger.quota().usage().bytes;
  parts->ledger.quota().settle_bytes(0, node->charge.bytes);
  parts->directories.put(*node, "gone", whiteout_child());
  EXPECT_GT(parts->ledger.quota().usage().bytes, before + node->charge.bytes);
  parts->objects.drop_directory(*node, nullptr);
  EXPECT_EQ(parts->ledger.quota().usage().bytes, before);
}

TEST_F(ObjectsTest, ADirectoryOfTheImageThatIsGoneKeepsItsAttributes) {
  NodePtr node = objects().new_node();
  node->id = node->lower = row("dir");
  node->type = S_IFDIR;
  node->standing = Standing::kLowerOnly;
  EXPECT_EQ(objects().attr_of(*node)->mtime.sec, SmallImage::kMtime);
  EXPECT_EQ(objects().attr_of(*node)->nlink, 0U);
}

// There may be as many as inodes.
TEST_F(ObjectsTest, NamesOfADirectoryThatGoesAreFreedAfterTheLock) {
  make("many", S_IFDIR | 0755);
  for (int i = 0; i < 100; ++i) make_whiteout("many/" + std::to_string(i));
  const NodePtr directory = load("many");
  ASSERT_TRUE(parts->directories.listing_of(directory));
  const auto with_names = parts->memory.used_bytes();
  {
    const std::lock_guard lock(parts->mutex);
    objects().drop_directory(*directory, nullptr);
    EXPECT_EQ(parts->memory.used_bytes(), with_names);
  }
  EXPECT_LT(parts->memory.used_bytes(), with_names);
}

TEST_F(ObjectsTest, TheLastSessionLeavesARightCount) {
  const NodePtr unlinked = made("unlinked", 64U << 10U);
  move_to_work(unlinked);
  const NodePtr written = made("written");
  ASSERT_EQ(::truncate(on_host("written").c_str(), 5), 0);
  const UniqueFd fd(::open(on_host("written").c_str(), O_WRONLY | O_CLOEXEC));
  ASSERT_EQ(::write(fd.get(), "12345", 5), 5);
  written->charge.grows_late = true;
  const auto settled = objects().settle_all(Objects::Late::kOnDisk);
  ASSERT_TRUE(settled) << settled.error().describe();
  EXPECT_TRUE(work_names().empty());
  EXPECT_TRUE(unlinked->is_gone());
  EXPECT_EQ(written->charge.bytes, parts->ledger.tariff().object(*stat_at({root_fd(), "written"})));
}

TEST_F(ObjectsTest, ASessionsEndForgetsAll) {
  const NodePtr unlinked = made("unlinked");
  move_to_work(unlinked);
  const NodePtr orphan = made("orphan");
  ASSERT_TRUE(parts->places.file_fd(orphan) && objects().make_orphan(*orphan));
  objects().end_session();
  EXPECT_TRUE(parts->nodes.all().empty());
  EXPECT_TRUE(work_names().empty());
  EXPECT_TRUE(orphan->is_gone() && unlinked->is_gone());
  EXPECT_EQ(orphan->orphan, nullptr);
}

}  // namespace
}  // namespace layerboot::overlay
