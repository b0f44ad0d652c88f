#include "oci-mount/overlay/lower_metadata.h"

#include "tests/oci-mount/overlay/small_image.h"

namespace layerboot::overlay {
namespace {

class LowerMetadataTest : public PartsTest {
 protected:
  Place place() const { return {root_fd(), "copy"}; }
  LowerMetadata metadata() const { return {lower, parts->places.keeping()}; }
  std::string tag() {
    const auto name = host_xattr_name(parts->places.keeping(), "user.tag");
    return name ? marked("copy", *name) : "no name";
  }
  struct stat now() {
    const auto st = stat_at(place());
    EXPECT_TRUE(st);
    return st.value_or((struct stat){});
  }
};

TEST_F(LowerMetadataTest, TheTreeTellsTypeModeAndOwner) {
  const RecordedStat nature = nature_of(image.tree->node(row("dir/file")));
  EXPECT_EQ(nature.mode, S_IFREG | 0640U);
  EXPECT_EQ(nature.uid, 5U);
  EXPECT_EQ(nature.gid, 6U);
  EXPECT_EQ(nature_of(image.tree->node(row("dir/pipe"))).mode & S_IFMT, static_cast<unsigned>(S_IFIFO));
}

TEST_F(LowerMetadataTest, AllOfAnObjectComesOntoACopy) {
  make("copy", S_IFREG | 0600);
  auto copier = metadata();
  const auto copied = copier.copy(row("dir/file"), place());
  ASSERT_TRUE(copied) << copied.error().describe();
  const auto st = now();
  const auto nature = nature_at(parts->places.keeping(), place(), st);
  ASSERT_TRUE(nature);
  EXPECT_EQ(nature->mode, S_IFREG | 0640U);
  EXPECT_EQ(nature->uid, 5U);
  EXPECT_EQ(nature->gid, 6U);
  EXPECT_EQ(tag(), "of the image");
  EXPECT_EQ(st.st_mtim.tv_sec, SmallImage::kMtime);
  EXPECT_EQ(st.st_mtim.tv_nsec, SmallImage::kMtimeNsec);
}

TEST_F(LowerMetadataTest, WhatIsThereIsKeptOrReplacedAsAsked) {
  make("copy", S_IFREG | 0600);
  const auto name = host_xattr_name(parts->places.keeping(), "user.tag");
  ASSERT_TRUE(name);
  mark("copy", *name, "the guest's");
  auto copier = metadata();
  ASSERT_TRUE(copier.copy_xattrs(row("dir/file"), place(), LowerMetadata::Existing::kKept));
  EXPECT_EQ(tag(), "the guest's");
  ASSERT_TRUE(copier.copy_xattrs(row("dir/file"), place(), LowerMetadata::Existing::kReplaced));
  EXPECT_EQ(tag(), "of the image");
}

// A FIFO takes no user attributes on the host: what it can't keep is left out, and the copy goes on.
TEST_F(LowerMetadataTest, WhatTheHostRefusesForGoodIsLeftOut) {
  if (parts->places.keeping() != Keeping::kNative) GTEST_SKIP() << "recorded objects are files";
  make("copy", S_IFIFO | 0600);
  auto copier = metadata();
  const auto copied = copier.copy(row("dir/file"), place());
  EXPECT_TRUE(copied) << copied.error().describe();
  EXPECT_EQ(tag(), "none");
}

TEST_F(LowerMetadataTest, AnErrorOfTheHostIsTold) {
  auto copier = metadata();
  const auto copied = copier.copy(row("dir/file"), {root_fd(), "nowhere"});
  ASSERT_FALSE(copied);
  EXPECT_EQ(copied.error().code, ENOENT);
}

}  // namespace
}  // namespace layerboot::overlay
