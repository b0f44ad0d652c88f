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

TEST(ParseReference, ArchivesDirectoriesAndContainerd) {
  const auto archive = parse_reference("oci-archive:/a.tar:v1", kDirs);
  ASSERT_TRUE(archive);
  EXPECT_EQ(archive->kind, SourceKind::kOciArchive);
  EXPECT_EQ(archive->layout, "/a.tar");
  EXPECT_EQ(archive->names, std::vector<std::string>{"v1"});
  const auto docker = parse_reference("docker-archive:a.tar:debian:12", kDirs);
  ASSERT_TRUE(docker);
  EXPECT_EQ(docker->kind, SourceKind::kDockerArchive);
  EXPECT_EQ(docker->layout, "a.tar");
  EXPECT_EQ(docker->names, (std::vector<std::string>{"debian:12", "docker.io/library/debian:12"}));
  const auto directory = parse_reference("dir:/a:b", kDirs);
  ASSERT_TRUE(directory);
  EXPECT_EQ(directory->kind, SourceKind::kDirectory);
  EXPECT_EQ(directory->layout, "/a:b");
  const auto containerd = parse_reference("containerd:docker.io/library/debian:12", kDirs);
  ASSERT_TRUE(containerd);
  EXPECT_EQ(containerd->kind, SourceKind::kContainerd);
  EXPECT_EQ(containerd->names.front(), "docker.io/library/debian:12");
  for (const char* text : {"dir:", "oci-archive:", "docker-archive:x:", "containerd:", "containerd:a b"})
    EXPECT_EQ(parse_reference(text, kDirs).error().code, EINVAL) << text;
}

TEST(ParseReference, NamesAsARegistryHasThem) {
  using Names = std::vector<std::string>;
  const std::string digest = "sha256:" + std::string(64, 'a');
  const auto plain = parse_reference("docker://debian:12", kDirs);
  ASSERT_TRUE(plain) << plain.error().text;
  EXPECT_EQ(plain->names, (Names{"debian:12", "docker.io/library/debian:12"}));
  EXPECT_FALSE(plain->digest);
  for (const std::string name : {"debian", "debian:12", "docker://debian"}) {
    const auto pinned = parse_reference(name + "@" + digest, kDirs);
    ASSERT_TRUE(pinned) << pinned.error().text;
    EXPECT_EQ(pinned->names, (Names{"debian@" + digest, "docker.io/library/debian@" + digest})) << name;
    ASSERT_TRUE(pinned->digest) << name;
    EXPECT_EQ(pinned->digest->text(), digest);
  }
  for (const std::string& wrong :
       {std::string("debian@sha256:00"), std::string("debian@"), std::string("debian@latest"), "@" + digest})
    EXPECT_EQ(parse_reference(wrong, kDirs).error().code, EINVAL) << wrong;
}

TEST(ParseReference, OtherNotationsSayWhatToUse) {
  for (const std::string text : {"docker-daemon:x:1", "containers-storage:x"}) {
    const auto reference = parse_reference(text, kDirs);
    ASSERT_FALSE(reference) << text;
    EXPECT_EQ(reference.error().code, ENOTSUP) << text;
    EXPECT_NE(reference.error().text.find("layerboot pull"), std::string::npos) << text;
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
