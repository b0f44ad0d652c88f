#include "oci-mount/mount/resolve.h"

#include <gtest/gtest.h>

#include "tests/oci-mount/tree/built_tree.h"

namespace layerboot::mount {
namespace {

using tree::FakeLayer;
using tree::LayerEntries;
using tree::NodeId;

class ResolveTest : public testing::Test {
 protected:
  void SetUp() override {
    layer_.directory("usr/bin");
    layer_.file("usr/bin/env");
    layer_.symlink("bin", "usr/bin");
    layer_.symlink("absolute", "/usr/bin/env");
    layer_.symlink("escape", "../../../../usr/bin/env");
    layer_.symlink("dangling", "nowhere");
    layer_.symlink("loop", "loop");
    layer_.symlink("usr/up", "../usr/bin");
    for (int i = 0; i < 40; ++i) layer_.symlink(str_cat("chain", i), str_cat("chain", i + 1));
    layer_.file("chain40");
    const LayerEntries* const one = &layer_;
    auto built = tree::build_and_open(std::span(&one, 1));
    ASSERT_TRUE(built) << built.error().describe();
    tree_ = std::move(*built);
  }
  NodeId at(std::string_view path, LastSymlink last = LastSymlink::kFollow) const {
    const auto found = resolve(*tree_, path, last);
    EXPECT_TRUE(found) << found.error().describe();
    return found ? *found : tree::kNoNode;
  }
  int error_of(std::string_view path, LastSymlink last = LastSymlink::kFollow) const {
    const auto found = resolve(*tree_, path, last);
    if (found) return 0;
    EXPECT_NE(found.error().text.find(path), std::string::npos) << "the error names the path";
    return found.error().code;
  }

  FakeLayer layer_{"l"};
  std::unique_ptr<const tree::Tree> tree_;
};

TEST_F(ResolveTest, WalksAsAProcessRootedThereWould) {
  const NodeId env = tree::node_at(*tree_, "usr/bin/env");
  for (const std::string_view path : {"/usr/bin/env", "usr/bin/env", "//usr/./bin//env", "/../../usr/bin/env",
                                      "bin/env", "absolute", "escape", "usr/up/env", "bin/../bin/env"}) {
    EXPECT_EQ(at(path), env) << path;
  }
  for (const std::string_view path : {"", "/", "..", "usr/..", "/."})
    EXPECT_EQ(at(path), tree::kRoot) << path;
}

TEST_F(ResolveTest, KeepsTheLastSymlinkWhenAsked) {
  EXPECT_EQ(at("bin", LastSymlink::kKeep), tree::node_at(*tree_, "bin"));
  EXPECT_EQ(at("bin/", LastSymlink::kKeep), tree::node_at(*tree_, "usr/bin"));
  EXPECT_EQ(at("dangling", LastSymlink::kKeep), tree::node_at(*tree_, "dangling"));
}

TEST_F(ResolveTest, SaysWhyNot) {
  EXPECT_EQ(error_of("missing"), ENOENT);
  EXPECT_EQ(error_of("dangling"), ENOENT);
  EXPECT_EQ(error_of("usr/bin/env/x"), ENOTDIR);
  EXPECT_EQ(error_of("usr/bin/env/"), ENOTDIR);
  EXPECT_EQ(error_of("loop"), ELOOP);
  EXPECT_EQ(error_of("loop", LastSymlink::kKeep), 0);
}

TEST_F(ResolveTest, FollowsFortySymlinksAndNoMore) {
  EXPECT_EQ(at("chain0"), tree::node_at(*tree_, "chain40"));
  EXPECT_EQ(error_of("bin/../../chain0"), ELOOP);
}

}  // namespace
}  // namespace layerboot::mount
