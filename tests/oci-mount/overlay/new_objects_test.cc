// New objects: what they inherit, where they get their names, and that nothing stays of one that fails.
#include "oci-mount/overlay/new_objects.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <mutex>
#include <string>

#include "oci-mount/overlay/acl.h"
#include "tests/oci-mount/overlay/small_image.h"
#include "tests/support/acl_text.h"

namespace layerboot::overlay {
namespace {

class NewObjectsTest : public PartsTest {
 protected:
  void SetUp() override {
    PartsTest::SetUp();
    made.emplace(*parts);
    parts->nodes.add_row_reference(row("dir"));
  }
  void TearDown() override {
    EXPECT_TRUE(work_names().empty()) << work_names().front() << " stays in the work directory";
    PartsTest::TearDown();
  }
  Result<NodePtr> make_at(NodeId parent, std::string_view name, std::uint32_t mode, Caller caller = {}) {
    const std::lock_guard lock(parts->mutex);
    return made->make(parent, name, {.mode = mode, .rdev = 0, .target = {}, .caller = caller});
  }
  Result<NodePtr> make_beside(NodeId parent, std::string_view name, std::uint32_t mode) {
    PartLock lock(parts->mutex);
    return made->make_beside_others(lock, parent, name,
                                    {.mode = mode, .rdev = 0, .target = {}, .caller = {}});
  }
  /// A directory that the client holds.
  NodeId directory(const std::string& name, std::uint32_t mode, Caller caller = {}) {
    const auto node = make_at(kRootId, name, S_IFDIR | mode, caller);
    EXPECT_TRUE(node) << node.error().describe();
    parts->nodes.add_reference(**node);
    return (*node)->id;
  }
  [[nodiscard]] Attr attr(const NodePtr& node) { return parts->objects.attr_of(*node).value_or(Attr{}); }
  [[nodiscard]] bool is_on_host(const std::string& path) const {
    return std::filesystem::exists(std::filesystem::symlink_status(on_host(path)));
  }
  [[nodiscard]] Quota::Usage usage() const { return parts->ledger.quota().usage(); }
  void set_limits(Quota::Limits limits) { parts->ledger.quota().set_limits(limits); }

  std::optional<NewObjects> made;
};

TEST_F(NewObjectsTest, AreOnTheHostInMemoryAndInTheCount) {
  const auto before = usage().inodes;
  const auto node =
      make_at(kRootId, "new", S_IFREG | 0640, {.uid = 12, .gid = 34, .also_in = {}, .umask = 0});
  ASSERT_TRUE(node) << node.error().describe();
  EXPECT_TRUE((*node)->is_reached_as(root(), "new"));
  EXPECT_EQ(load("new"), *node);
  EXPECT_TRUE(is_on_host("new"));
  EXPECT_EQ(attr(*node).mode, S_IFREG | 0640U);
  EXPECT_EQ(attr(*node).uid, 12U);
  EXPECT_EQ(attr(*node).gid, 34U);
  EXPECT_EQ(attr(*node).nlink, 1U);
  EXPECT_EQ(usage().inodes, before + 1);
  EXPECT_EQ(code_of(make_at(kRootId, "new", S_IFREG | 0640)), EEXIST);
  EXPECT_EQ(code_of(make_at(kRootId, "dir", S_IFREG | 0640)), EEXIST) << "the image has it";
  EXPECT_EQ(code_of(make_at(row("hard"), "new", S_IFREG | 0640)), ESTALE) << "which the client was not given";
}

TEST_F(NewObjectsTest, BringADirectoryOfTheImageWithThem) {
  ASSERT_TRUE(make_at(row("dir"), "new", S_IFREG | 0644));
  EXPECT_TRUE(is_on_host("dir/new"));
  EXPECT_NE(parts->nodes.known(row("dir")), nullptr);
  EXPECT_EQ(code_of(make_at(row("dir"), "file", S_IFREG | 0644)), EEXIST);
}

TEST_F(NewObjectsTest, TakeTheirUmaskFromTheCallerOrTheirBitsFromADefaultAcl) {
  const Caller caller{.uid = 1, .gid = 2, .also_in = {}, .umask = 027};
  EXPECT_EQ(attr(*make_at(kRootId, "plain", S_IFREG | 0666, caller)).mode, S_IFREG | 0640U);
  const NodeId parent = directory("acl", 0755);
  const std::string acl = test::acl_text({{0x01, 7, ~0U}, {0x04, 5, ~0U}, {0x20, 0, ~0U}});
  const std::string host_name = *host_xattr_name(parts->places.keeping(), kDefaultAclXattr);
  mark("acl", host_name, acl);
  const auto file = make_at(parent, "file", S_IFREG | 0666, caller);
  ASSERT_TRUE(file) << file.error().describe();
  EXPECT_EQ(attr(*file).mode, S_IFREG | 0640U) << "the ACL's bits; the umask says nothing";
  ASSERT_TRUE(make_at(parent, "below", S_IFDIR | 0777, caller));
  EXPECT_EQ(marked("acl/below", host_name), acl) << "handed down further";
  EXPECT_EQ(marked("acl/file", host_name), "none");
}

TEST_F(NewObjectsTest, TakeTheGroupOfASetGroupIdDirectory) {
  const NodeId parent = directory("shared", 02775, {.uid = 1, .gid = 50, .also_in = {}, .umask = 0});
  const Caller caller{.uid = 2, .gid = 60, .also_in = {}, .umask = 022};
  const Attr file = attr(*make_at(parent, "file", S_IFREG | 0644, caller));
  EXPECT_EQ(file.uid, 2U);
  EXPECT_EQ(file.gid, 50U);
  const Attr below = attr(*make_at(parent, "below", S_IFDIR | 0755, caller));
  EXPECT_EQ(below.gid, 50U);
  EXPECT_EQ(below.mode, S_IFDIR | 02755U);
}

TEST_F(NewObjectsTest, TakeTheStrokeThatTheWhiteoutsPlaceNeeds) {
  make_whiteout("only");
  make_whiteout("big");
  ASSERT_EQ(make_beside(kRootId, "only", S_IFDIR | 0755).value_or(nullptr), nullptr) << "more than one call";
  ASSERT_TRUE(make_at(kRootId, "only", S_IFDIR | 0755));
  ASSERT_TRUE(make_at(kRootId, "big", S_IFREG | 0644));
  EXPECT_TRUE(std::filesystem::is_directory(on_host("only")));
  EXPECT_EQ(marked("only", marks().opaque), "y") << "what the image has there stays hidden";
  EXPECT_TRUE(std::filesystem::is_regular_file(on_host("big")));
  EXPECT_FALSE(parts->directories.look(load("only"), "child")->exists());
}

TEST_F(NewObjectsTest, BesideOthersAreThoseOfOneCall) {
  if (parts->places.keeping() != Keeping::kNative) {
    EXPECT_EQ(make_beside(kRootId, "new", S_IFREG | 0644).value_or(nullptr), nullptr) << "a record follows";
    EXPECT_FALSE(is_on_host("new"));
    return;
  }
  const auto node = make_beside(kRootId, "new", S_IFREG | 0644);
  ASSERT_TRUE(node);
  ASSERT_NE(*node, nullptr);
  EXPECT_EQ(load("new"), *node);
  EXPECT_FALSE(root()->directory.claimed);
  EXPECT_EQ(code_of(make_beside(kRootId, "new", S_IFREG | 0644)), EEXIST);
  EXPECT_EQ(make_beside(row("dir"), "new", S_IFREG | 0644).value_or(*node), nullptr) << "it has no body yet";
  make("behind", S_IFREG | 0644);  // the host knows better
  EXPECT_EQ(code_of(make_beside(kRootId, "behind", S_IFREG | 0644)), EEXIST);
  EXPECT_FALSE(root()->directory.claimed) << "nor where the host has refused";
}

TEST_F(NewObjectsTest, WithoutANameAreTheClientsAlone) {
  {
    const std::lock_guard lock(parts->mutex);
    const auto node =
        made->make_nameless(kRootId, {.mode = S_IFREG | 0600, .rdev = 0, .target = {}, .caller = {}});
    ASSERT_TRUE(node) << node.error().describe();
    EXPECT_TRUE((*node)->in_work());
    EXPECT_EQ(work_names().size(), 1U);
    EXPECT_EQ(parts->nodes.known((*node)->id), *node);
    EXPECT_TRUE(std::filesystem::is_empty(on_host("")));
    parts->nodes.add_reference(**node);
    parts->nodes.take_references(**node, 1);
    parts->objects.release_if_unused(*node);
  }
  EXPECT_TRUE(work_names().empty()) << "and go with its last reference";
  EXPECT_EQ(usage().inodes, 0U);
}

TEST_F(NewObjectsTest, AreDiscardedWhole) {
  const std::lock_guard lock(parts->mutex);
  for (const auto type : {std::uint32_t{S_IFREG}, std::uint32_t{S_IFDIR}, std::uint32_t{S_IFIFO}}) {
    const auto unnamed = made->make_unnamed({.mode = type | 0755U, .uid = 0, .gid = 0, .rdev = 0});
    ASSERT_TRUE(unnamed) << unnamed.error().describe();
    EXPECT_EQ(work_names().size(), 1U);
    made->discard(*unnamed);
    EXPECT_TRUE(work_names().empty());
  }
}

TEST_F(NewObjectsTest, LeaveNothingWhereTheirPlaceIsGone) {
  const NodeId parent = directory("gone", 0755);
  const NodePtr node = parts->nodes.known(parent);
  const std::lock_guard lock(parts->mutex);
  auto unnamed = made->make_unnamed({.mode = S_IFREG | 0644, .uid = 0, .gid = 0, .rdev = 0});
  ASSERT_TRUE(unnamed);
  ASSERT_TRUE(parts->directories.listing_of(node));
  std::filesystem::remove(on_host("gone"));
  EXPECT_EQ(code_of(made->place(node, "name", *std::move(unnamed))), ENOENT);
  EXPECT_TRUE(work_names().empty());
  EXPECT_FALSE(parts->directories.look(node, "name")->exists());
}

TEST_F(NewObjectsTest, AreNotMadeOverTheBudget) {
  const auto now = usage();
  set_limits({.bytes = kLimits.bytes, .inodes = now.inodes});
  EXPECT_EQ(code_of(make_at(kRootId, "a", S_IFREG | 0644)), ENOSPC);
  set_limits({.bytes = now.bytes, .inodes = kLimits.inodes});
  EXPECT_EQ(code_of(make_at(kRootId, "a", S_IFDIR | 0755)), ENOSPC);
  EXPECT_FALSE(is_on_host("a"));
  set_limits(kLimits);
  EXPECT_TRUE(make_at(kRootId, "a", S_IFREG | 0644)) << "and nothing stays reserved";
}

}  // namespace
}  // namespace layerboot::overlay
