#include "oci-mount/store/reference.h"

#include <gtest/gtest.h>

namespace layerboot::store {
namespace {

const StateDirs kDirs{"/data", "/cache", "/run"};

TEST(ParseReference, OciLayout) {
  const auto plain = parse_reference("oci:some/dir", kDirs);
  ASSERT_TRUE(plain);
  EXPECT_EQ(plain->layout, "some/dir");
  EXPECT_TRUE(plain->names.empty());
  const auto tagged = parse_reference("oci:/dir:docker.io/library/debian:12", kDirs);
  ASSERT_TRUE(tagged);
  EXPECT_EQ(tagged->layout, "/dir");
  EXPECT_EQ(tagged->names, std::vector<std::string>{"docker.io/library/debian:12"});
  EXPECT_FALSE(parse_reference("oci:", kDirs));
  EXPECT_FALSE(parse_reference("oci::tag", kDirs));
  EXPECT_FALSE(parse_reference("oci:dir:", kDirs));
}

TEST(ParseReference, NamesAreLookedUpInTheStore) {
  using Names = std::vector<std::string>;
  const auto names = [](std::string_view text) {
    const auto reference = parse_reference(text, kDirs);
    EXPECT_TRUE(reference) << text;
    EXPECT_EQ(reference->layout, "/data/store");
    return reference->names;
  };
  EXPECT_EQ(names("debian:12"), (Names{"debian:12", "docker.io/library/debian:12"}));
  EXPECT_EQ(names("debian"), (Names{"debian:latest", "docker.io/library/debian:latest"}));
  EXPECT_EQ(names("docker.io/library/debian:12"), (Names{"docker.io/library/debian:12", "debian:12"}));
  EXPECT_EQ(names("bitnami/redis"), (Names{"bitnami/redis:latest", "docker.io/bitnami/redis:latest"}));
  EXPECT_EQ(names("localhost:5000/x"), Names{"localhost:5000/x:latest"});
  EXPECT_EQ(names("example.org/a/b:1"), Names{"example.org/a/b:1"});
}

TEST(ParseReference, OtherNotationsSayWhatToUse) {
  for (const std::string text : {"oci-archive:x.tar", "docker-archive:x.tar", "containerd:debian", "dir:/x",
                                 "docker://debian", "docker-daemon:x:1", "debian@sha256:00"}) {
    const auto reference = parse_reference(text, kDirs);
    ASSERT_FALSE(reference) << text;
    EXPECT_EQ(reference.error().code, ENOTSUP) << text;
    EXPECT_NE(reference.error().text.find("not supported yet"), std::string::npos) << text;
    EXPECT_NE(reference.error().text.find(text), std::string::npos) << text;
  }
}

TEST(ParseReference, RefusesWhatIsNoName) {
  for (const std::string_view text : {"", "a b", "debian:12;rm", "über", "a\nb"}) {
    EXPECT_FALSE(parse_reference(text, kDirs)) << text;
  }
  EXPECT_FALSE(parse_reference(std::string(5000, 'a'), kDirs));
  EXPECT_FALSE(parse_reference(std::string_view("oci:a\0b", 7), kDirs));
}

}  // namespace
}  // namespace layerboot::store
