#include "oci-mount/store/containerd.h"

#include <gtest/gtest.h>

#include "tests/oci-mount/store/manifest_text.h"

namespace layerboot::store {
namespace {

TEST(ParseCtrList, ReadsTheFirstImage) {
  const auto index =
      parse_ctr_list(str_cat("REF TYPE DIGEST SIZE PLATFORMS LABELS \n"
                             "docker.io/library/x:1 application/vnd.oci.image.index.v1+json sha256:",
                             kHex, " 1.2 MiB linux/amd64 - \n"));
  ASSERT_TRUE(index) << index.error().text;
  EXPECT_EQ(index->kind, DocumentKind::kIndex);
  EXPECT_EQ(index->digest.hex(), kHex);
  const auto manifest =
      parse_ctr_list(str_cat("x application/vnd.docker.distribution.manifest.v2+json sha256:", kHex));
  ASSERT_TRUE(manifest);
  EXPECT_EQ(manifest->kind, DocumentKind::kManifest);
  EXPECT_EQ(
      parse_ctr_list(str_cat("x application/vnd.docker.distribution.manifest.list.v2+json sha256:", kHex))
          ->kind,
      DocumentKind::kIndex);
}

TEST(ParseCtrList, SaysWhatIsNotThere) {
  EXPECT_EQ(parse_ctr_list("").error().code, ENOENT);
  EXPECT_EQ(parse_ctr_list("REF TYPE DIGEST SIZE PLATFORMS LABELS\n").error().code, ENOENT);
  // CVE-2024-3727: what is no digest must not become a path.
  EXPECT_EQ(parse_ctr_list("x t sha256:../../../etc/passwd").error().code, EINVAL);
}

}  // namespace
}  // namespace layerboot::store
