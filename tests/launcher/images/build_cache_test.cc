// What each step of a build has made, as long as that is there.
#include "launcher/images/build_cache.h"

#include <gtest/gtest.h>

#include "launcher/images/store_index.h"
#include "tests/support/image_builder.h"
#include "tests/support/tar_builder.h"
#include "tests/support/temp_dir.h"

namespace layerboot::launcher {
namespace {

TEST(StepKey, TextsAreApart) {
  const auto of = [](const std::vector<const char*>& texts) {
    auto key = StepKey::begin("base");
    EXPECT_TRUE(key);
    for (const char* text : texts) key->add(text);
    return key->finish();
  };
  EXPECT_EQ(of({"a", "b"}), of({"a", "b"}));
  EXPECT_NE(of({"a", "b"}), of({"ab"}));
  EXPECT_NE(of({"a", "b"}), of({"b", "a"}));
  EXPECT_NE(of({""}), of({}));
}

TEST(BuildCache, GoesWithTheImage) {
  const test::TempDir dir;
  test::ImageBuilder image(dir / "store");
  image.add_gzip_layer(test::TarBuilder().file("a", "1").finish()).write("one:1");
  const auto entries = read_entries(dir / "store");
  ASSERT_TRUE(entries && entries->size() == 1U);
  const std::string digest = entries->front().digest;
  {
    const auto cache = BuildCache::open(dir / "steps", dir / "store");
    ASSERT_TRUE(cache) << cache.error().describe();
    EXPECT_FALSE(cache->find("key"));
    ASSERT_TRUE(cache->keep("key", digest));
    ASSERT_TRUE(cache->keep("other", "sha256:" + std::string(64, '0')));
    EXPECT_EQ(cache->find("key"), digest);
    EXPECT_FALSE(cache->find("other"));
  }
  const auto again = BuildCache::open(dir / "steps", dir / "store");
  ASSERT_TRUE(again);
  EXPECT_EQ(again->find("key"), digest);
  EXPECT_FALSE(std::filesystem::exists(dir / "steps/other")) << "of an image that is gone";
  std::filesystem::remove_all(dir / "store/blobs");
  EXPECT_FALSE(again->find("key")) << "not whole";
}

}  // namespace
}  // namespace layerboot::launcher
