// What an image's documents may hold at most: each error names the limit it stands for.
#include <gtest/gtest.h>

#include "oci-mount/store/docker_archive.h"
#include "oci-mount/store/oci_json.h"
#include "tests/oci-mount/store/manifest_text.h"

namespace layerboot::store {
namespace {

TEST(StoreLimits, OfAManifest) {
  std::string layers;
  for (std::size_t i = 0; i <= kMaxLayers; ++i) {
    layers += str_cat(i == 0 ? "" : ",", R"({"mediaType":"application/vnd.oci.image.layer.v1.tar",)",
                      R"("digest":"sha256:)", kHex, R"(","size":1})");
  }
  expect_refused(manifest_with(layers), str_cat("limit of ", kMaxLayers));
  std::string deep = manifest_with("");
  deep.insert(deep.size() - 1,
              str_cat(R"(,"x":)", std::string(kMaxJsonDepth + 1, '['), std::string(kMaxJsonDepth + 1, ']')));
  expect_refused(deep, str_cat("limit of ", kMaxJsonDepth));
}

TEST(StoreLimits, OfAnIndex) {
  const std::string entry =
      str_cat(R"({"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:)", kHex,
              R"(","size":1})");
  std::string index = str_cat(R"({"manifests":[)", entry);
  for (std::size_t i = 0; i < kMaxManifests; ++i) index += "," + entry;
  const auto parsed = parse_index(index + "]}", "the index");
  ASSERT_FALSE(parsed);
  EXPECT_NE(parsed.error().text.find(str_cat("limit of ", kMaxManifests)), std::string::npos)
      << parsed.error().text;
}

TEST(StoreLimits, OfADockerManifest) {
  const auto refused = [](const std::string& text, std::string_view limit) {
    const auto parsed = parse_docker_manifest(text, "m");
    ASSERT_FALSE(parsed) << limit;
    EXPECT_NE(parsed.error().text.find(limit), std::string::npos) << parsed.error().text;
  };
  refused(std::string(kMaxManifestJsonBytes + 1, ' '), str_cat("limit of ", kMaxManifestJsonBytes));
  std::string images = R"([{"Config":"c"})";
  for (int i = 0; i < 4096; ++i) images += R"(,{"Config":"c"})";
  refused(images + "]", "4097 images are over the limit of 4096");
  std::string layers = R"([{"Config":"c","Layers":["l")";
  for (std::size_t i = 0; i < kMaxLayers; ++i) layers += R"(,"l")";
  refused(layers + "]}]", str_cat("limit of ", kMaxLayers));
}

}  // namespace
}  // namespace layerboot::store
