#include "oci-mount/layer/layer.h"

#include <gtest/gtest.h>

#include "tests/support/image_builder.h"
#include "tests/support/tar_builder.h"
#include "tests/support/temp_dir.h"

namespace layerboot::layer {
namespace {

class LayerTest : public testing::Test {
 protected:
  void SetUp() override {
    builder_.add_gzip_layer(tar_a_).add_plain_layer(tar_b_).write();
    auto image = store::open_image(str_cat("oci:", builder_.layout().string()), dirs_);
    ASSERT_TRUE(image) << image.error().text;
    image_ = std::move(*image);
    test::write_text(added_, tar_b_);
  }
  auto open(bool with_added = false) {
    const std::vector<std::filesystem::path> added =
        with_added ? std::vector{added_} : std::vector<std::filesystem::path>{};
    return open_layers(image_, added, {.index_dir = dirs_.index()});
  }
  [[nodiscard]] std::size_t index_count() const {
    return static_cast<std::size_t>(std::distance(std::filesystem::directory_iterator(dirs_.index()), {}));
  }
  test::TempDir dir_;
  StateDirs dirs_{dir_ / "data", dir_ / "cache", dir_ / "run"};
  std::string tar_a_ = test::TarBuilder().file("a", test::sample_bytes(400'000, 1)).finish();
  std::string tar_b_ = test::TarBuilder().file("b", "B").finish();
  std::filesystem::path added_ = dir_ / "added.tar";
  test::ImageBuilder builder_{dir_ / "layout"};
  store::Image image_;
};

TEST_F(LayerTest, BuildsWhatIsMissingOnce) {
  const auto layers = open();
  ASSERT_TRUE(layers) << layers.error().text;
  ASSERT_EQ(layers->size(), 2U);
  EXPECT_EQ(index_count(), 2U);
  const auto path = dirs_.index() / (*layers)[0]->identity().index_file_name();
  const auto written = std::filesystem::last_write_time(path);
  ASSERT_TRUE(open());
  EXPECT_EQ(std::filesystem::last_write_time(path), written);
  EXPECT_EQ(std::filesystem::status(path).permissions(), std::filesystem::perms(0444));
}

TEST_F(LayerTest, AnIndexThatOthersCouldHaveWrittenIsBuiltAgain) {
  ASSERT_TRUE(open());
  for (const auto& index : std::filesystem::directory_iterator(dirs_.index()))
    std::filesystem::permissions(index.path(), std::filesystem::perms(0666));
  const auto layers = open();
  ASSERT_TRUE(layers) << layers.error().text;
  for (const auto& index : std::filesystem::directory_iterator(dirs_.index()))
    EXPECT_EQ(index.status().permissions(), std::filesystem::perms(0444)) << index.path();
}

TEST_F(LayerTest, SeveralAtOnceAreTheSameInTheSameOrder) {
  for (unsigned i = 0; i < 9; ++i)
    builder_.add_gzip_layer(
        test::TarBuilder().file(str_cat("f", i), test::sample_bytes(200'000, i)).finish());
  builder_.write();
  image_ = *store::open_image(str_cat("oci:", builder_.layout().string()), dirs_);
  const auto one_by_one = open_layers(image_, {}, {.index_dir = dir_ / "one", .layers_at_once = 1});
  const auto at_once = open_layers(image_, {}, {.index_dir = dir_ / "four", .layers_at_once = 4});
  ASSERT_TRUE(one_by_one) << one_by_one.error().text;
  ASSERT_TRUE(at_once) << at_once.error().text;
  EXPECT_EQ(layers_key(*at_once), layers_key(*one_by_one));
  for (const auto& file : std::filesystem::directory_iterator(dir_ / "one"))
    EXPECT_TRUE(test::read_text(file.path()) == test::read_text(dir_ / "four" / file.path().filename()));
  test::write_text(image_.layers[7].path, "damaged");
  const auto damaged = open_layers(image_, {}, {.index_dir = dir_ / "none", .layers_at_once = 4});
  ASSERT_FALSE(damaged);
  EXPECT_NE(damaged.error().text.find(image_.layers[7].blob.text()), std::string::npos)
      << damaged.error().text;
}

TEST_F(LayerTest, AddedLayersLieOnTop) {
  const auto layers = open(true);
  ASSERT_TRUE(layers) << layers.error().text;
  ASSERT_EQ(layers->size(), 3U);
  EXPECT_TRUE((*layers)[2]->identity().text().starts_with("file:"));
  EXPECT_EQ((*layers)[2]->index().load_entries()->entry(0).path, "b");
  EXPECT_NE((*layers)[1]->number(), (*layers)[2]->number());
  EXPECT_NE(layers_key(*layers), layers_key(*open()));
  EXPECT_EQ(layers_key(*layers), layers_key(*open(true)));
}

TEST_F(LayerTest, AnAddedLayerThatChangedIsIndexedAnew) {
  ASSERT_TRUE(open(true));
  test::write_text(added_, test::TarBuilder().file("other", std::string(1000, 'x')).finish());
  const auto layers = open(true);
  ASSERT_TRUE(layers);
  EXPECT_EQ((*layers)[2]->index().load_entries()->entry(0).path, "other");
}

TEST_F(LayerTest, ADamagedIndexIsBuiltAgain) {
  ASSERT_TRUE(open());
  for (const auto& file : std::filesystem::directory_iterator(dirs_.index())) {
    std::string bytes = test::read_text(file.path());
    bytes[bytes.size() / 2] ^= 1;
    std::filesystem::remove(file.path());
    test::write_text(file.path(), bytes);
  }
  const auto layers = open();
  ASSERT_TRUE(layers) << layers.error().text;
  EXPECT_TRUE((*layers)[0]->index().load_entries());
  EXPECT_EQ(index_count(), 2U);
}

TEST_F(LayerTest, TheAnswerDoesNotHangOnWhatIsCached) {
  const auto wrong_diff_id = [&] {
    store::Image image = image_;
    image.layers[0].diff_id = *store::Digest::parse(test::sha256_text("another"));
    return open_layers(image, {}, {.index_dir = dirs_.index()});
  };
  const auto wrong_size = [&] {
    store::Image image = image_;
    ++image.layers[0].size_bytes;
    return open_layers(image, {}, {.index_dir = dirs_.index()});
  };
  const std::string diff_id_error = wrong_diff_id().error().text;
  const std::string size_error = wrong_size().error().text;
  EXPECT_NE(diff_id_error.find("DiffID"), std::string::npos) << diff_id_error;
  EXPECT_NE(size_error.find("bytes"), std::string::npos) << size_error;
  ASSERT_TRUE(open());
  ASSERT_FALSE(wrong_diff_id());
  EXPECT_EQ(wrong_diff_id().error().text, diff_id_error);
  ASSERT_FALSE(wrong_size());
  EXPECT_EQ(wrong_size().error().text, size_error);
  store::Image image = image_;
  for (store::ImageLayer& layer : image.layers) layer.compression = store::Compression::kZstd;
  EXPECT_TRUE(open_layers(image, {}, {.index_dir = dirs_.index()}));
  EXPECT_TRUE(open_layers(image, {}, {.index_dir = dir_ / "fresh"}));
  EXPECT_TRUE(open());
}

TEST_F(LayerTest, XzAndBzip2AreRecutAndFoundAgain) {
  const std::string tar_c = test::TarBuilder().file("c", test::sample_bytes(900'000, 2)).finish();
  const std::string type = "application/vnd.oci.image.layer.v1.tar";
  test::ImageBuilder builder(dir_ / "streams");
  builder.add_layer({type, test::xz(tar_a_), test::sha256_text(tar_a_)});
  builder.add_layer({type, test::bzip2(tar_c), test::sha256_text(tar_c)}).write();
  image_ = *store::open_image(str_cat("oci:", builder.layout().string()), dirs_);
  const auto layers = open();
  ASSERT_TRUE(layers) << layers.error().text;
  EXPECT_EQ(index_count(), 4U) << "an index and a recut file each";
  EXPECT_EQ((*layers)[0]->index().compression(), store::Compression::kXz);
  EXPECT_EQ((*layers)[1]->index().compression(), store::Compression::kBzip2);
  for (const auto& layer : *layers) {
    EXPECT_GE(layer->index().checkpoints().span_count(), 2U);
    EXPECT_EQ(layer->blob().size_bytes(), layer->index().recut_size_bytes());
  }
  const auto path = dirs_.index() / (*layers)[0]->identity().index_file_name();
  const auto written = std::filesystem::last_write_time(path);
  ASSERT_TRUE(open());
  EXPECT_EQ(std::filesystem::last_write_time(path), written);
}

TEST_F(LayerTest, DamagedXzAndBzip2LeaveNothing) {
  const std::string xz = test::xz(tar_a_);
  const std::string bzip2 = test::bzip2(tar_a_);
  for (const std::string& blob : {xz.substr(0, xz.size() - 1), bzip2.substr(0, bzip2.size() / 2)}) {
    test::ImageBuilder builder(dir_ / "damaged");
    builder.add_layer({"application/vnd.oci.image.layer.v1.tar", blob, test::sha256_text(tar_a_)}).write();
    image_ = *store::open_image(str_cat("oci:", builder.layout().string()), dirs_);
    const auto layers = open();
    ASSERT_FALSE(layers);
    EXPECT_NE(layers.error().text.find("is whole, but can't be served"), std::string::npos)
        << layers.error().text;
    EXPECT_NE(layers.error().text.find("cut short"), std::string::npos) << layers.error().text;
    EXPECT_EQ(index_count(), 0U);
  }
}

TEST_F(LayerTest, ABlobThatIsMissingOrCutShortIsNamed) {
  ASSERT_TRUE(open());
  const auto path = image_.layers[0].path;
  std::filesystem::resize_file(path, 100);
  const auto cut = open();
  ASSERT_FALSE(cut);
  EXPECT_NE(cut.error().text.find(image_.layers[0].blob.text()), std::string::npos) << cut.error().text;
  EXPECT_NE(cut.error().text.find("fetch the image again"), std::string::npos) << cut.error().text;
  std::filesystem::remove(path);
  const auto missing = open();
  ASSERT_FALSE(missing);
  EXPECT_NE(missing.error().text.find("is missing"), std::string::npos) << missing.error().text;
  EXPECT_NE(missing.error().text.find("fetch the image again"), std::string::npos) << missing.error().text;
}

}  // namespace
}  // namespace layerboot::layer
