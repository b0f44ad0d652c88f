// A reset of the session (INIT), which a guest may ask for at any time and as often as it likes.
#include <fstream>

#include "tests/oci-mount/vfs/writable_fixture.h"

namespace layerboot::test {
namespace {

class ResetTest : public WritableFsTest {
 protected:
  /// What only a walk over the upper would find.
  void add_behind_its_back() { std::ofstream(hidden()) << std::string(1 << 20, 'x'); }
  void TearDown() override {
    std::filesystem::remove(hidden());
    restart();
    WritableFsTest::TearDown();
  }
  [[nodiscard]] std::filesystem::path hidden() const { return directory / "vm/upper/behind"; }
};

TEST_F(ResetTest, WalksNothingWhereAllIsKnown) {
  ASSERT_EQ(drive().mkdir("born"), 0);
  ASSERT_EQ(drive().rename("deep/er", "born/moved"), 0);
  ASSERT_EQ(drive().unlink("links/a"), 0);
  ASSERT_EQ(drive().create("born/empty", ""), 0);
  fs->reset();
  const auto before = booked();
  add_behind_its_back();
  for (int i = 0; i < 3; ++i) {
    fs->reset();
    EXPECT_EQ(booked().bytes, before.bytes);
    EXPECT_EQ(booked().inodes, before.inodes);
  }
  EXPECT_EQ(drive().read("born/moved/est/file"), "far down") << "what was moved is found";
  EXPECT_EQ(drive().attr("links2/c").nlink, 2U) << "and names that were removed are missed";
}

// The host allocates what was written when it likes: only a look at the file tells.
TEST_F(ResetTest, CountsWhereFilesMayStillGrow) {
  ASSERT_EQ(drive().create("written", "bytes"), 0);
  const auto before = booked();
  add_behind_its_back();
  fs->reset();
  EXPECT_EQ(booked().inodes, before.inodes + 1);
}

}  // namespace
}  // namespace layerboot::test
