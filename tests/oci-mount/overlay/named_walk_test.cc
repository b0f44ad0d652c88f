// Visiting Nodes where they are on the host.
#include "oci-mount/overlay/named_walk.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <map>
#include <string>
#include <vector>

#include "tests/support/temp_dir.h"

namespace layerboot::overlay {
namespace {

class NamedWalkTest : public testing::Test {
 protected:
  NamedWalkTest() : root_fd_(::open(top_.path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)) {
    root_->id = kRootId;
  }
  // One by one: a deep chain of parents would be destroyed by as deep a recursion.
  ~NamedWalkTest() override {
    for (auto& node : made_) node->parent.reset();
  }
  /// A directory there, and its Node. `at`: a descriptor of `parent`.
  NodePtr make(const NodePtr& parent, int at, const std::string& name) {
    EXPECT_EQ(::mkdirat(at, name.c_str(), 0755), 0);
    struct stat st{};
    EXPECT_EQ(::fstatat(at, name.c_str(), &st, 0), 0);
    auto node = Node::make(memory_);
    node->id = kUpperIdBase + made_.size();
    node->host_ino = st.st_ino;
    node->parent = parent;
    node->name = name;
    made_.push_back(node);
    return node;
  }
  static UniqueFd enter(int at, const std::string& name) {
    return UniqueFd(::openat(at, name.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  }
  /// How often each was visited, where the place was its own.
  Result<std::map<const Node*, int>> visit(const std::vector<NodePtr>& nodes) {
    std::map<const Node*, int> visits;
    LB_TRY(visit_named(nodes, root_fd_.get(), memory_, [&](Node& node, Place place) -> Result<void> {
      LB_ASSIGN(const struct stat st, stat_at(place));
      EXPECT_TRUE(node.is_root() || st.st_ino == node.host_ino) << node.name;
      ++visits[&node];
      return {};
    }));
    return visits;
  }

  test::TempDir top_;
  MemoryBudget memory_;
  NodePtr root_ = Node::make(memory_);
  UniqueFd root_fd_;
  std::vector<NodePtr> made_;
};

TEST_F(NamedWalkTest, VisitsWhatIsWantedAndNothingElse) {
  const auto a = make(root_, root_fd_.get(), "a");
  const auto fd = enter(root_fd_.get(), "a");
  const auto b = make(a, fd.get(), "b");
  const auto c = make(a, fd.get(), "c");
  make(root_, root_fd_.get(), "d");
  const auto visits = visit({c, root_, b});
  ASSERT_TRUE(visits);
  EXPECT_EQ(*visits, (std::map<const Node*, int>{{c.get(), 1}, {root_.get(), 1}, {b.get(), 1}}));
  EXPECT_TRUE(visit({})->empty());
}

// Each level has a directory beside the one that leads on: whoever comes back to it finds no descriptor left.
TEST_F(NamedWalkTest, AnyDepthIsWalkedOnce) {
  constexpr int kDepth = 2000;
  NodePtr parent = root_;
  UniqueFd at = enter(root_fd_.get(), ".");
  for (int i = 0; i < kDepth; ++i) {
    make(parent, at.get(), "beside");
    parent = make(parent, at.get(), "on");
    at = enter(at.get(), "on");
  }
  const auto visits = visit(made_);
  ASSERT_TRUE(visits) << visits.error().describe();
  EXPECT_EQ(visits->size(), std::size_t{2} * kDepth);
  for (const auto& [node, times] : *visits) EXPECT_EQ(times, 1);
}

TEST_F(NamedWalkTest, AnErrorEndsIt) {
  const auto a = make(root_, root_fd_.get(), "a");
  const auto visited = visit_named(std::vector{a}, root_fd_.get(), memory_,
                                   [](Node&, Place) -> Result<void> { return fail(EIO); });
  EXPECT_EQ(visited.error().code, EIO);
  a->name = "gone";
  EXPECT_EQ(visit({a}).error().code, ENOENT);
}

TEST_F(NamedWalkTest, WithoutMemoryItIsRefused) {
  const auto a = make(root_, root_fd_.get(), "a");
  while (memory_.take(1U << 20)) {
  }
  while (memory_.take(1)) {
  }
  EXPECT_EQ(visit({a}).error().code, ENOMEM);
}

}  // namespace
}  // namespace layerboot::overlay
