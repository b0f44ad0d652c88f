// What went wrong in other programs that read image documents, each under its name.
#include <gtest/gtest.h>

#include "oci-mount/store/image.h"
#include "oci-mount/store/oci_json.h"
#include "tests/oci-mount/store/manifest_text.h"
#include "tests/support/image_builder.h"
#include "tests/support/tar_builder.h"
#include "tests/support/temp_dir.h"

namespace layerboot::store {
namespace {

// A document that is a manifest to one reader and an index to another.
TEST(StoreCve, Cve2021_41190AmbiguousDocument) {
  std::string both = manifest_with("");
  both.insert(both.size() - 1, R"(,"manifests":[])");
  EXPECT_FALSE(parse_manifest(both, "x"));
  EXPECT_FALSE(parse_index(both, "x"));
}

// A digest that is no digest becomes a path.
TEST(StoreCve, Cve2024_3727DigestAsAPath) {
  for (const std::string digest : {"sha256:../../../etc/passwd", "sha256:", "../x", "md5:00"}) {
    expect_refused(
        manifest_with(str_cat(R"({"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":")", digest,
                              R"(","size":1})")),
        "is no digest");
  }
}

// Urls of a foreign layer must not be fetched, least of all with anybody's credentials: nothing of them is
// kept.
TEST(StoreCve, Cve2020_15157ForeignLayerUrls) {
  for (const char* type : {"application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
                           "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"}) {
    const auto manifest =
        parse_manifest(manifest_with(str_cat(R"({"mediaType":")", type, R"(","digest":"sha256:)", kHex,
                                             R"(","size":1,"urls":["http://attacker.example/"]})")),
                       "x");
    ASSERT_TRUE(manifest) << manifest.error().text;
    EXPECT_EQ(manifest->layers.at(0).digest.hex(), kHex);
  }
}

// Documents read whole, however large.
TEST(StoreCve, Cve2023_25153AndGhsa259w8hf659c2UnboundedDocuments) {
  const std::string large(kMaxManifestJsonBytes + 1, ' ');
  const std::string limit = str_cat("limit of ", kMaxManifestJsonBytes);
  expect_refused(large, limit);
  EXPECT_NE(parse_config(large, "x").error().text.find(limit), std::string::npos);
  const std::string larger(kMaxIndexJsonBytes + 1, ' ');
  EXPECT_NE(parse_index(larger, "x").error().text.find(str_cat("limit of ", kMaxIndexJsonBytes)),
            std::string::npos);
  // And of one that only says that it is large.
  const test::TempDir dir;
  test::ImageBuilder image(dir / "image");
  image.add_to_index(str_cat(R"({"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:)",
                             kHex, R"(","size":99999999999})"));
  const auto opened = open_image(str_cat("oci:", (dir / "image").string()), StateDirs{});
  ASSERT_FALSE(opened);
  EXPECT_NE(opened.error().text.find(limit), std::string::npos) << opened.error().text;
}

// A path out of a document, opened on the host.
TEST(StoreCve, Cve2020_10696AndCve2024_1753PathsOfAnArchiveStayInIt) {
  const test::TempDir dir;
  test::write_text(dir / "secret", "{}");
  const std::string way_out = str_cat("../../../../../../../..", (dir / "secret").string());
  const std::string archive = (dir / "a.tar").string();
  for (const bool as_config : {true, false}) {
    test::TarBuilder tar;
    tar.file("config", str_cat(R"({"rootfs":{"diff_ids":["sha256:)", kHex, R"("]}})"));
    tar.symlink("link", way_out);
    for (const std::string& name : {way_out, (dir / "secret").string(), std::string("link")}) {
      test::TarBuilder whole = tar;
      whole.file("manifest.json", str_cat(R"([{"Config":")", as_config ? name : "config", R"(","Layers":[")",
                                          as_config ? "config" : name, R"("]}])"));
      test::write_text(archive, whole.finish());
      const auto opened = open_image(str_cat("docker-archive:", archive), StateDirs{});
      ASSERT_FALSE(opened) << name;
      EXPECT_NE(opened.error().text.find("holds no \""), std::string::npos) << opened.error().text;
    }
  }
}

}  // namespace
}  // namespace layerboot::store
