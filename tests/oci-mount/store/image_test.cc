#include "oci-mount/store/image.h"

#include <gtest/gtest.h>

#include "oci-mount/base/bytes.h"
#include "tests/support/image_builder.h"
#include "tests/support/tar_builder.h"
#include "tests/support/temp_dir.h"

namespace layerboot::store {
namespace {

using test::ImageBuilder;
using test::TarBuilder;

class ImageTest : public testing::Test {
 protected:
  [[nodiscard]] std::string reference(std::string_view tag = "") const {
    return str_cat("oci:", layout().string(), tag.empty() ? "" : ":", tag);
  }
  [[nodiscard]] std::filesystem::path layout() const { return dir_ / "layout"; }
  [[nodiscard]] Result<Image> open(std::string_view tag = "") const {
    return open_image(reference(tag), dirs_);
  }
  void expect_error(const Result<Image>& image, std::initializer_list<std::string_view> parts) const {
    ASSERT_FALSE(image);
    for (const auto part : parts)
      EXPECT_NE(image.error().text.find(part), std::string::npos) << image.error().text;
    EXPECT_EQ(image.error().text.find('\n'), std::string::npos) << "one line: " << image.error().text;
  }
  test::TempDir dir_;
  StateDirs dirs_{dir_ / "data", dir_ / "cache", dir_ / "run"};
  const std::string tar_a_ = TarBuilder().file("a", "A").finish();
  const std::string tar_b_ = TarBuilder().file("b", "B").finish();
};

TEST_F(ImageTest, OpensTheOnlyImage) {
  ImageBuilder builder(layout());
  builder.add_gzip_layer(tar_a_).add_plain_layer(tar_b_).write("some-tag");
  const auto image = open();
  ASSERT_TRUE(image) << image.error().text;
  ASSERT_EQ(image->layers.size(), 2U);
  EXPECT_EQ(image->layers[0].compression, Compression::kGzip);
  EXPECT_EQ(image->layers[0].diff_id.text(), test::sha256_text(tar_a_));
  EXPECT_EQ(image->layers[0].size_bytes, builder.layers[0].blob.size());
  EXPECT_EQ(test::read_text(image->layers[0].path), builder.layers[0].blob);
  EXPECT_EQ(image->layers[1].compression, Compression::kNone);
  EXPECT_EQ(image->config.cmd, std::vector<std::string>{"/bin/sh"});
  EXPECT_EQ(image->chain_id.text(),
            test::sha256_text(test::sha256_text(tar_a_) + " " + test::sha256_text(tar_b_)));
}

TEST_F(ImageTest, ChoosesByTag) {
  ImageBuilder(layout()).add_gzip_layer(tar_a_).write("one");
  ImageBuilder second(layout());
  second.add_gzip_layer(tar_a_).write("one");
  second.layers.clear();
  second.add_gzip_layer(tar_b_).write("latest");
  EXPECT_EQ(open("one")->layers[0].diff_id.text(), test::sha256_text(tar_a_));
  EXPECT_EQ(open()->layers[0].diff_id.text(), test::sha256_text(tar_b_)) << "of several, latest";
  expect_error(open("two"), {reference("two"), "it holds: latest, one"});
}

TEST_F(ImageTest, AReplacedTagIsTheLastWritten) {
  ImageBuilder builder(layout());
  builder.add_gzip_layer(tar_a_).write("x");
  builder.layers.clear();
  builder.add_gzip_layer(tar_b_).write("x");
  EXPECT_EQ(open("x")->layers[0].diff_id.text(), test::sha256_text(tar_b_));
}

TEST_F(ImageTest, NamesAreFoundInTheStore) {
  expect_error(open_image("debian:12", dirs_), {"debian:12", "is empty", "layerboot pull debian:12"});
  ImageBuilder(dirs_.store()).add_gzip_layer(tar_a_).write("docker.io/library/debian:12");
  EXPECT_TRUE(open_image("debian:12", dirs_));
  EXPECT_TRUE(open_image("docker.io/library/debian:12", dirs_));
  expect_error(open_image("debian:13", dirs_), {"debian:13", "it holds: docker.io/library/debian:12"});
}

TEST_F(ImageTest, IsFoundByItsDigest) {
  ImageBuilder(dirs_.store()).add_gzip_layer(tar_a_).write("docker.io/library/debian:12");
  const auto by_tag = open_image("docker://debian:12", dirs_);
  ASSERT_TRUE(by_tag) << by_tag.error().text;
  const std::string digest = by_tag->manifest_digest.text();
  for (const std::string name : {"debian@", "docker.io/library/debian:other@"})
    EXPECT_TRUE(open_image(name + digest, dirs_)) << name;
  const std::string other = "sha256:" + std::string(64, 'a');
  expect_error(open_image("debian@" + other, dirs_), {other, "it holds: docker.io/library/debian:12"});
  // The registry's digest is not the manifest's where the manifest was converted; then the name has it.
  ImageBuilder(dirs_.store()).add_gzip_layer(tar_a_).write("docker.io/library/debian@" + other);
  EXPECT_TRUE(open_image("debian:12@" + other, dirs_));
}

TEST_F(ImageTest, ACopyThatSkopeoMadeOfAnImageIsNoRoot) {
  std::filesystem::create_directories(dir_ / "copy");
  test::write_text(dir_ / "copy/version", "Directory Transport Version: 1.1\n");
  const std::string reference = str_cat("dir:", (dir_ / "copy").string());
  EXPECT_TRUE(open_image(reference, dirs_)) << "a file of that name makes no copy of it";
  test::write_text(dir_ / "copy/manifest.json", "{}");
  expect_error(open_image(reference, dirs_), {"skopeo", "layerboot pull " + reference + " NAME"});
}

TEST_F(ImageTest, SaysWhatIsNoLayout) {
  expect_error(open(), {"is no OCI layout", "skopeo copy"});
  ImageBuilder builder(layout());
  test::write_text(layout() / "index.json", "nonsense");
  expect_error(open(), {"index.json", "no JSON"});
}

TEST_F(ImageTest, ChoosesTheHostsPlatformFromANestedIndex) {
  ImageBuilder inner(dir_ / "inner");
  inner.add_gzip_layer(tar_a_).write("x");
  // The manifest of the inner layout, offered in a nested index beside one of another architecture.
  const auto inner_image = open_image(str_cat("oci:", (dir_ / "inner").string()), dirs_);
  ASSERT_TRUE(inner_image) << inner_image.error().text;
  std::filesystem::create_directories(layout());
  std::filesystem::rename(dir_ / "inner/blobs", layout() / "blobs");
  ImageBuilder outer(layout());
  const std::string manifest = test::read_text(outer.blob_path(inner_image->manifest_digest.text()));
  const auto entry = [&](std::string_view digest, std::string_view architecture) {
    return str_cat(R"({"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":")", digest,
                   R"(","size":)", manifest.size(), R"(,"platform":{"os":"linux","architecture":")",
                   architecture, R"("}})");
  };
  const auto write_nested = [&](std::string_view list) {
    const std::string nested = str_cat(R"({"schemaVersion":2,"manifests":[)", list, "]}");
    ImageBuilder fresh(layout());
    fresh.add_to_index(str_cat(R"({"mediaType":"application/vnd.oci.image.index.v1+json","digest":")",
                               fresh.add_blob(nested), R"(","size":)", nested.size(), "}"));
  };
  const std::string host = entry(inner_image->manifest_digest.text(), host_architecture());
  const std::string other = entry("sha256:" + std::string(64, '0'), "s390x");
  write_nested(str_cat(other, ",", host, ",", other));
  const auto image = open();
  ASSERT_TRUE(image) << image.error().text;
  EXPECT_EQ(image->layers.size(), 1U);
  write_nested(other);
  expect_error(open(), {"has nothing for linux/", "linux/s390x"});
}

TEST_F(ImageTest, NestingIsBounded) {
  ImageBuilder builder(layout());
  std::string document = R"({"manifests":[]})";
  for (int depth = 0; depth < 4; ++depth) {
    const auto descriptor = str_cat(R"({"mediaType":"application/vnd.oci.image.index.v1+json","digest":")",
                                    builder.add_blob(document), R"(","size":)", document.size(), "}");
    document = str_cat(R"({"manifests":[)", descriptor, "]}");
  }
  test::write_text(layout() / "index.json", document);
  expect_error(open(), {"nested deeper than the limit"});
}

TEST_F(ImageTest, RefusesADamagedOrMissingDocument) {
  ImageBuilder builder(layout());
  builder.add_gzip_layer(tar_a_).write();
  const auto path = builder.blob_path(open()->manifest_digest.text());
  std::string manifest = test::read_text(path);
  manifest[10] ^= 1;
  test::write_text(path, manifest);
  expect_error(open(), {"manifest sha256:", "is damaged", "fetch the image again"});
  std::filesystem::remove(path);
  expect_error(open(), {"manifest sha256:", "fetch the image again"});
}

TEST_F(ImageTest, RefusesWhatDoesNotFitTogether) {
  ImageBuilder foreign(layout());
  foreign.architecture = "s390x";
  foreign.add_gzip_layer(tar_a_).write();
  expect_error(open(), {"is for linux/s390x"});
  ImageBuilder builder(layout());
  builder.add_gzip_layer(tar_a_);
  builder.layers[0].diff_id += str_cat("\",\"", test::sha256_text("x"));  // one diff_id too many
  builder.write();
  expect_error(open(), {"2 diff_ids for 1 layers"});
}

TEST(ChainId, FollowsTheSpec) {
  EXPECT_EQ(*chain_id_of({}), Digest());
  const auto a = *Digest::parse("sha256:" + std::string(64, 'a'));
  const auto b = *Digest::parse("sha256:" + std::string(64, 'b'));
  EXPECT_EQ(*chain_id_of({a}), a);
  EXPECT_EQ(chain_id_of({a, b, a})->text(),
            test::sha256_text(test::sha256_text(a.text() + " " + b.text()) + " " + a.text()));
}

}  // namespace
}  // namespace layerboot::store
