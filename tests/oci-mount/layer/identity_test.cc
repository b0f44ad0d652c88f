#include "oci-mount/layer/identity.h"

#include <gtest/gtest.h>

namespace layerboot::layer {
namespace {

TEST(LayerIdentity, OfABlobIsItsDigest) {
  for (const std::string& text : {"sha256:" + std::string(64, 'a'), "sha512:" + std::string(128, 'b')}) {
    const auto identity = LayerIdentity::of_blob(*store::Digest::parse(text));
    EXPECT_EQ(identity.text(), text);
    EXPECT_EQ(identity.index_file_name(), text.substr(0, 6) + "-" + text.substr(7) + ".lidx");
  }
}

TEST(LayerIdentity, OfAFileChangesWithTheFile) {
  struct stat st{};
  st.st_dev = 1;
  st.st_ino = 2;
  st.st_size = 3;
  st.st_mtim = {4, 5};
  const auto same = LayerIdentity::of_file(st);
  EXPECT_EQ(LayerIdentity::of_file(st).text(), same.text());
  EXPECT_TRUE(same.text().starts_with("file:"));
  EXPECT_TRUE(same.index_file_name().starts_with("file-"));
  struct stat touched = st;
  touched.st_mtim.tv_nsec = 6;
  struct stat longer = st;
  longer.st_size = 4;
  struct stat other = st;
  other.st_ino = 3;
  for (const auto& changed : {touched, longer, other}) {
    EXPECT_NE(LayerIdentity::of_file(changed).text(), same.text());
    EXPECT_FALSE(LayerIdentity::of_file(changed).record() == same.record());
  }
}

}  // namespace
}  // namespace layerboot::layer
