#include "launcher/images/store_index.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/file.h>

#include <algorithm>

#include "oci-mount/base/files.h"
#include "oci-mount/base/str_cat.h"
#include "tests/support/image_builder.h"
#include "tests/support/tar_builder.h"
#include "tests/support/temp_dir.h"

namespace layerboot::launcher {
namespace {

using test::ImageBuilder;
using test::TarBuilder;

class StoreIndexTest : public testing::Test {
 protected:
  /// Two images that share a layer.
  void fill() {
    ImageBuilder image(store());
    image.add_gzip_layer(TarBuilder().file("shared", "s").finish());
    shared_ = test::sha256_text(image.layers[0].blob);
    image.add_gzip_layer(TarBuilder().file("own", "1").finish()).write("docker.io/library/one:latest");
    image.layers.pop_back();
    image.add_gzip_layer(TarBuilder().file("own", "2").finish()).write("two:2");
  }
  std::filesystem::path store() const { return dir_ / "store"; }

  test::TempDir dir_;
  std::string shared_;
};

TEST_F(StoreIndexTest, AnEmptyStoreHoldsNothing) {
  const auto contents = StoreContents::read(store());
  ASSERT_TRUE(contents) << contents.error().text;
  EXPECT_TRUE(contents->images().empty());
  EXPECT_TRUE(contents->reachable().empty());
}

TEST_F(StoreIndexTest, KnowsImagesAndAllTheirBlobs) {
  fill();
  const auto contents = StoreContents::read(store());
  ASSERT_TRUE(contents) << contents.error().text;
  ASSERT_EQ(contents->images().size(), 2U);
  const StoredImage& one = contents->images()[0];
  EXPECT_EQ(one.name, "docker.io/library/one:latest");
  EXPECT_EQ(one.layer_count, 2U);
  EXPECT_EQ(one.blobs.size(), 4U) << "manifest, config, two layers";
  EXPECT_TRUE(std::ranges::binary_search(one.blobs, shared_));
  std::uint64_t sum = 0;
  for (const std::string& blob : one.blobs)
    sum += std::filesystem::file_size(blob_path(store(), *store::Digest::parse(blob)));
  EXPECT_EQ(one.size_bytes, sum);
  EXPECT_EQ(contents->reachable().size(), 7U) << "the shared layer is there once";
  const auto of_manifest = blobs_of_manifest(store(), *store::Digest::parse(one.digest));
  ASSERT_TRUE(of_manifest);
  EXPECT_EQ(*of_manifest, one.blobs);
}

TEST_F(StoreIndexTest, ForgetsByNameAndKeepsTheRest) {
  fill();
  EXPECT_EQ(forget_images(store(), {"none"}).value_or(99), 0U);
  EXPECT_EQ(forget_images(store(), {"two:2"}).value_or(99), 1U);
  const auto contents = StoreContents::read(store());
  ASSERT_TRUE(contents) << contents.error().text;
  ASSERT_EQ(contents->images().size(), 1U);
  EXPECT_EQ(contents->images()[0].name, "docker.io/library/one:latest");
  EXPECT_EQ(contents->reachable().size(), 4U);
}

TEST_F(StoreIndexTest, NamesWhatCannotBeRead) {
  fill();
  test::write_text(store() / "index.json", "{");
  const auto broken = StoreContents::read(store());
  ASSERT_FALSE(broken);
  EXPECT_NE(broken.error().text.find("index.json"), std::string::npos) << broken.error().text;
  EXPECT_FALSE(forget_images(store(), {"two:2"}));
  test::write_text(store() / "index.json", R"({"manifests":1})");
  EXPECT_FALSE(forget_images(store(), {"two:2"}));
}

TEST_F(StoreIndexTest, TheLockIsOneHoldersAtATime) {
  const auto try_lock = [this] {
    const auto fd = open_path(store() / "lock", O_RDWR);
    return fd && ::flock(fd->get(), LOCK_EX | LOCK_NB) == 0;
  };
  {
    const auto lock = StoreLock::acquire(store());
    ASSERT_TRUE(lock) << lock.error().text;
    EXPECT_FALSE(try_lock());
  }
  EXPECT_TRUE(try_lock());
}

}  // namespace
}  // namespace layerboot::launcher
