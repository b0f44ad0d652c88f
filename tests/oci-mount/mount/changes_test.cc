// oci-mount diff of uppers laid out by hand, as our own daemon or the kernel's overlayfs leaves them.
#include "oci-mount/mount/changes.h"

#include <gtest/gtest.h>

#include "oci-mount/base/files.h"
#include "oci-mount/overlay/upper.h"
#include "tests/oci-mount/tree/built_tree.h"
#include "tests/support/temp_dir.h"

namespace layerboot::mount {
namespace {

namespace fs = std::filesystem;

constexpr const char* kImage = "sha256:image";

class ChangesTest : public testing::Test {
 protected:
  ChangesTest() {
    for (const char* path : {"p", "p/old", "p/old2", "q"}) layer_.directory(path);
    for (const char* path : {"p/old/x", "p/old2/y", "q/z"}) layer_.file(path);
    layer_.symlink("link", "p");
    layer_.sort();
    const tree::LayerEntries* const layers[] = {&layer_};
    tree_ = std::move(*tree::build_and_open(layers));
    auto upper = overlay::Upper::open(top_ / "vm", kImage);
    EXPECT_TRUE(upper) << upper.error().describe();
    keeping_ = upper->keeping();
  }
  void directory(const std::string& path) { fs::create_directories(top_ / "vm/upper" / path); }
  void mark(const std::string& path, std::string_view name, std::string_view value) {
    const UniqueFd dir = *open_path((top_ / "vm/upper" / path), O_RDONLY | O_DIRECTORY);
    ASSERT_TRUE(overlay::set_xattr_at({dir.get(), ""}, name, value, 0));
  }
  [[nodiscard]] const overlay::Marks& marks() const { return overlay::marks_of(keeping_); }
  std::string changes() {
    std::string text;
    const auto listed = list_changes(*tree_, kImage, top_ / "vm", [&](Change change, std::string_view path) {
      text += str_cat(static_cast<char>(change), ' ', path, '\n');
      return Result<void>();
    });
    EXPECT_TRUE(listed) << listed.error().describe();
    return text;
  }

  tree::FakeLayer layer_{"layer"};
  std::unique_ptr<const tree::Tree> tree_;
  test::TempDir top_;
  overlay::Keeping keeping_ = overlay::Keeping::kNative;
};

// overlayfs writes one where a directory is renamed beside its place.
TEST_F(ChangesTest, ARelativeRedirectIsBesideItsPlace) {
  directory("p/new");
  mark("p/new", marks().redirect, "old");
  EXPECT_EQ(changes(), "C /p\nA /p/new\nA /p/new/x\n");
}

TEST_F(ChangesTest, ARelativeRedirectFollowsWhatItsDirectoryMergesWith) {
  directory("moved/new");
  mark("moved", marks().redirect, "/p");
  mark("moved/new", marks().redirect, "old");
  EXPECT_EQ(changes(),
            "A /moved\nA /moved/new\nA /moved/new/x\nA /moved/old\nA /moved/old/x\nA /moved/old2\nA "
            "/moved/old2/y\n");
}

TEST_F(ChangesTest, ARedirectFollowsNoSymlink) {
  directory("new");
  mark("new", marks().redirect, "/link/old");
  EXPECT_EQ(changes(), "A /new\n");
}

TEST_F(ChangesTest, OpaqueIsAboveARedirect) {
  directory("q");
  mark("q", marks().redirect, "/p");
  mark("q", marks().opaque, "y");
  EXPECT_EQ(changes(), "C /q\nD /q/z\n");
}

}  // namespace
}  // namespace layerboot::mount
