#include "oci-mount/store/docker_archive.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "tests/support/image_builder.h"
#include "tests/support/tar_builder.h"
#include "tests/support/temp_dir.h"

namespace layerboot::store {
namespace {

using test::TarBuilder;

class DockerArchiveTest : public ::testing::Test {
 protected:
  Result<Image> open(std::string_view tag = "") {
    return open_image(str_cat("docker-archive:", (dir_ / "a.tar").string(), tag.empty() ? "" : ":", tag),
                      dirs_);
  }
  std::string config(const std::vector<std::string>& diff_ids) {
    std::string list;
    for (const auto& id : diff_ids) list += str_cat(list.empty() ? "\"" : ",\"", id, "\"");
    return str_cat(R"({"architecture":")", host_architecture(),
                   R"(","os":"linux","config":{"Cmd":["/x"]},"rootfs":{"type":"layers","diff_ids":[)", list,
                   "]}}");
  }
  void write(const TarBuilder& tar) { test::write_text(dir_ / "a.tar", tar.finish()); }
  static std::string bytes_of(const ImageLayer& layer) {
    const auto blob = open_blob(layer);
    if (!blob) return blob.error().text;
    std::string text((*blob)->size_bytes(), '\0');
    const auto got = (*blob)->read_blocking(0, std::as_writable_bytes(std::span(text)));
    return got && *got == text.size() ? text : "short";
  }

  test::TempDir dir_;
  StateDirs dirs_{dir_ / "data", dir_ / "cache", dir_ / "run"};
  std::string layer_a_ = TarBuilder().file("a", "A").finish();
  std::string layer_b_ = TarBuilder().file("b", "B").finish();
};

// What Docker before 25 wrote, with the link it makes for a layer that comes twice.
TEST_F(DockerArchiveTest, OldStyle) {
  const std::string a = test::sha256_text(layer_a_);
  const std::string b = test::sha256_text(layer_b_);
  TarBuilder tar;
  tar.file("c.json", config({a, b, a}))
      .directory("1/")
      .file("1/VERSION", "1.0")
      .file("1/layer.tar", layer_a_);
  tar.file("2/layer.tar", layer_b_).symlink("3/layer.tar", "../1/layer.tar");
  tar.file(
      "manifest.json",
      R"([{"Config":"c.json","RepoTags":["debian:12"],"Layers":["1/layer.tar","2/layer.tar","3/layer.tar"]}])");
  write(tar);
  for (const char* tag : {"", "debian:12", "docker.io/library/debian:12"}) {
    const auto image = open(tag);
    ASSERT_TRUE(image) << image.error().text;
    ASSERT_EQ(image->layers.size(), 3U);
    EXPECT_EQ(image->config.cmd, std::vector<std::string>{"/x"});
    EXPECT_EQ(bytes_of(image->layers[0]), layer_a_);
    EXPECT_EQ(bytes_of(image->layers[1]), layer_b_);
    EXPECT_EQ(bytes_of(image->layers[2]), layer_a_);
    EXPECT_EQ(image->layers[1].compression, Compression::kNone);
    EXPECT_EQ(image->layers[1].blob.text(), b);
    EXPECT_EQ(image->layers[1].size_bytes, layer_b_.size());
  }
  const auto none = open("debian:13");
  ASSERT_FALSE(none);
  EXPECT_NE(none.error().text.find("the archive holds 1 image: debian:12"), std::string::npos)
      << none.error().text;
}

// A compressed layer has no digest there: it is hashed, once.
TEST_F(DockerArchiveTest, CompressedLayersGoByTheirOwnDigest) {
  const std::string blob = test::gzip(layer_a_);
  write(TarBuilder()
            .file("c", config({test::sha256_text(layer_a_)}))
            .file("l.tar.gz", blob)
            .file("manifest.json", R"([{"Config":"c","RepoTags":null,"Layers":["l.tar.gz"]}])"));
  const auto image = open();
  ASSERT_TRUE(image) << image.error().text;
  EXPECT_EQ(image->layers[0].compression, Compression::kGzip);
  EXPECT_EQ(image->layers[0].blob.text(), test::sha256_text(blob));
  EXPECT_EQ(image->layers[0].diff_id.text(), test::sha256_text(layer_a_));
  const std::filesystem::directory_iterator kept(dirs_.cache / "digest");
  EXPECT_EQ(test::read_text(kept->path()), test::sha256_text(blob));
  // The kept one is taken, and a damaged one is not.
  const auto path = kept->path();
  std::filesystem::remove(path);
  test::write_text(path, test::sha256_text("other"));
  EXPECT_EQ(open()->layers[0].blob.text(), test::sha256_text("other"));
  test::write_text(path, "rubbish");
  EXPECT_EQ(open()->layers[0].blob.text(), test::sha256_text(blob));
}

TEST_F(DockerArchiveTest, WhatNoDecoderIsForIsSaid) {
  write(TarBuilder()
            .file("c", config({test::sha256_text(layer_a_)}))
            .file("l.tar", "LZIP\x01" + std::string(600, 'x'))
            .file("manifest.json", R"([{"Config":"c","RepoTags":["x:1"],"Layers":["l.tar"]}])"));
  const auto image = open();
  ASSERT_FALSE(image);
  EXPECT_NE(image.error().text.find(
                str_cat("layer l.tar of ", (dir_ / "a.tar").string(), ": it is compressed with lzip")),
            std::string::npos)
      << image.error().text;
}

TEST_F(DockerArchiveTest, LayersOfXzAndBzip2) {
  const std::string xz = test::xz(layer_a_);
  const std::string bzip2 = test::bzip2(layer_b_);
  write(TarBuilder()
            .file("c", config({test::sha256_text(layer_a_), test::sha256_text(layer_b_)}))
            .file("1/layer.tar", xz)
            .file("2/layer.tar", bzip2)
            .file("manifest.json",
                  R"([{"Config":"c","RepoTags":["x:1"],"Layers":["1/layer.tar","2/layer.tar"]}])"));
  const auto image = open();
  ASSERT_TRUE(image) << image.error().text;
  EXPECT_EQ(image->layers[0].compression, Compression::kXz);
  EXPECT_EQ(image->layers[0].blob.text(), test::sha256_text(xz));
  EXPECT_EQ(image->layers[0].diff_id.text(), test::sha256_text(layer_a_));
  EXPECT_EQ(image->layers[1].compression, Compression::kBzip2);
  EXPECT_EQ(bytes_of(image->layers[1]), bzip2);
}

// As `docker save one two | xz` has it.
TEST_F(DockerArchiveTest, CompressedAsAWhole) {
  const std::string tar = TarBuilder()
                              .file("c", config({test::sha256_text(layer_a_)}))
                              .file("d", config({test::sha256_text(layer_b_)}))
                              .file("a", layer_a_)
                              .file("b", layer_b_)
                              .file("manifest.json", R"([{"Config":"c","RepoTags":["one:1"],"Layers":["a"]},)"
                                                     R"({"Config":"d","RepoTags":["two:2"],"Layers":["b"]}])")
                              .finish();
  test::write_text(dir_ / "a.tar", test::xz(tar));
  for (const char* second : {"two:2", "@1"}) {
    const auto image = open(second);
    ASSERT_TRUE(image) << image.error().text;
    EXPECT_EQ(bytes_of(image->layers.at(0)), layer_b_);
    EXPECT_EQ(image->layers[0].path, dir_ / "a.tar") << "what messages call it";
    EXPECT_EQ(image->unpacked.parent_path(), dirs_.unpacked());
  }
  const std::filesystem::directory_iterator kept(dirs_.unpacked());
  EXPECT_EQ(std::distance(kept, {}), 1);
  const auto none = open("@2");
  ASSERT_FALSE(none);
  EXPECT_NE(none.error().text.find("holds 2 images"), std::string::npos) << none.error().text;
}

TEST_F(DockerArchiveTest, ByNumber) {
  const auto entry = [](std::string_view config) {
    return str_cat(R"({"Config":")", config, R"(","RepoTags":null,"Layers":["l"]})");
  };
  write(TarBuilder()
            .file("c", config({test::sha256_text(layer_a_)}))
            .file("d", config({test::sha256_text(layer_a_)}) + " ")
            .file("l", layer_a_)
            .file("manifest.json", str_cat("[", entry("c"), ",", entry("missing"), "]")));
  EXPECT_TRUE(open("@0")) << open("@0").error().text;
  EXPECT_NE(open("@1").error().text.find("\"missing\""), std::string::npos);
  EXPECT_NE(open("@2").error().text.find("holds 2 images"), std::string::npos) << open("@2").error().text;
  EXPECT_NE(open("@x").error().text.find("no number"), std::string::npos);
  EXPECT_NE(open().error().text.find("@0"), std::string::npos) << "none has a name";
}

// Of two images of one archive, and of two archives whose files have the same names.
TEST_F(DockerArchiveTest, TheDigestIsTheImagesOwn) {
  const auto write_with = [this](const std::string& layer) {
    write(TarBuilder()
              .file("c", config({test::sha256_text(layer)}))
              .file("d", config({test::sha256_text(layer)}) + " ")
              .file("l", layer)
              .file("manifest.json", R"([{"Config":"c","RepoTags":["a:1"],"Layers":["l"]},)"
                                     R"({"Config":"d","RepoTags":["a:2"],"Layers":["l"]}])"));
  };
  write_with(layer_a_);
  const Digest first = open("a:1")->manifest_digest;
  EXPECT_EQ(first.text(), test::sha256_text(config({test::sha256_text(layer_a_)})));
  EXPECT_NE(open("a:2")->manifest_digest.text(), first.text());
  write_with(layer_b_);
  EXPECT_NE(open("a:1")->manifest_digest.text(), first.text());
}

// What Docker writes since 25: an OCI layout, and a manifest.json that names its blobs.
TEST_F(DockerArchiveTest, NewStyle) {
  const auto blob_name = [](std::string_view bytes) {
    return "blobs/sha256/" + test::sha256_text(bytes).substr(std::string_view("sha256:").size());
  };
  const auto descriptor = [](std::string_view type, std::string_view bytes, std::string_view more = "") {
    return str_cat(R"({"mediaType":"application/vnd.oci.image.)", type, R"(","digest":")",
                   test::sha256_text(bytes), R"(","size":)", bytes.size(), more, "}");
  };
  const std::string config_text = config({test::sha256_text(layer_a_), test::sha256_text(layer_b_)});
  const std::string manifest =
      str_cat(R"({"schemaVersion":2,"config":)", descriptor("config.v1+json", config_text), R"(,"layers":[)",
              descriptor("layer.v1.tar", layer_a_), ",", descriptor("layer.v1.tar", layer_b_), "]}");
  const std::string index =
      str_cat(R"({"schemaVersion":2,"manifests":[)",
              descriptor("manifest.v1+json", manifest,
                         R"(,"annotations":{"org.opencontainers.image.ref.name":"v1"})"),
              "]}");
  TarBuilder tar;
  tar.directory("blobs/").directory("blobs/sha256/");
  for (const std::string& blob : {layer_a_, layer_b_, config_text, manifest}) tar.file(blob_name(blob), blob);
  tar.file("index.json", index).file("oci-layout", R"({"imageLayoutVersion":"1.0.0"})");
  tar.file("manifest.json",
           str_cat(R"([{"Config":")", blob_name(config_text), R"(","RepoTags":["example.org/one:v1"],)",
                   R"("Layers":[")", blob_name(layer_a_), R"(",")", blob_name(layer_b_), R"("]}])"));
  write(tar);
  for (const std::string& reference :
       {str_cat("docker-archive:", (dir_ / "a.tar").string(), ":example.org/one:v1"),
        str_cat("oci-archive:", (dir_ / "a.tar").string(), ":v1")}) {
    const auto image = open_image(reference, dirs_);
    ASSERT_TRUE(image) << image.error().text;
    ASSERT_EQ(image->layers.size(), 2U);
    EXPECT_EQ(image->layers[0].compression, Compression::kNone);
    EXPECT_EQ(image->layers[0].blob.text(), test::sha256_text(layer_a_));
    EXPECT_EQ(bytes_of(image->layers[0]), layer_a_);
    EXPECT_EQ(bytes_of(image->layers[1]), layer_b_);
  }
}

TEST_F(DockerArchiveTest, SaysWhatElseItIs) {
  const std::string file = (dir_ / "a.tar").string();
  const auto expect_says = [&](std::string_view part) {
    const auto image = open();
    ASSERT_FALSE(image);
    EXPECT_NE(image.error().text.find(part), std::string::npos) << image.error().text;
    EXPECT_EQ(image.error().text.find('\n'), std::string::npos) << image.error().text;
  };
  write(TarBuilder().directory("bin/").file("bin/sh", "x").file("etc/passwd", "x"));
  expect_says("is a root file system, as docker export makes it: unpack it into a directory");
  write(TarBuilder().file("oci-layout", "{}").file("index.json", "{}"));
  expect_says("name it oci-archive:" + file);
  write(TarBuilder().file("readme", "x"));
  expect_says("not of docker save");
  test::write_text(file, "some text");
  expect_says("it is no tar: it has 9 bytes");
  std::filesystem::remove(file);
  std::filesystem::create_directory(file);
  expect_says("is a directory, no archive: an OCI layout is oci:" + file);
}

TEST_F(DockerArchiveTest, RefusesWhatDoesNotFitTogether) {
  const auto refused = [&](std::string_view word) {
    const auto image = open();
    ASSERT_FALSE(image) << word;
    EXPECT_NE(image.error().text.find(word), std::string::npos) << image.error().text;
  };
  write(TarBuilder().file("x", "y"));
  refused("has no manifest.json");
  write(TarBuilder().file("manifest.json", R"([{"Config":"c","Layers":["l"]}])").file("c", config({})));
  refused("lists 0 diff_ids for 1 layers");
  write(TarBuilder()
            .file("manifest.json", R"([{"Config":"c","Layers":["../../etc/passwd"]}])")
            .file("c", config({test::sha256_text("")})));
  refused("holds no \"etc/passwd\"");
  write(TarBuilder().file("manifest.json", R"([{"Config":"../c","Layers":[]},{"Config":"d","Layers":[]}])"));
  refused("none with a name");
}

TEST(ParseDockerManifest, RefusesWhatIsNone) {
  for (const char* text :
       {"", "{}", "[", "[1]", "[{}]", R"([{"Config":1}])", R"([{"Config":"c","Layers":"l"}])",
        R"([],"other":[])", R"([],"images":[{"Config":"c"}])"}) {
    EXPECT_FALSE(parse_docker_manifest(text, "m")) << text;
  }
  EXPECT_TRUE(parse_docker_manifest("[]", "m")->empty());
}

}  // namespace
}  // namespace layerboot::store
