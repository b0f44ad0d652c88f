#include "launcher/images/image_name.h"

#include <gtest/gtest.h>

namespace layerboot::launcher {
namespace {

std::string full(std::string_view text) {
  const auto name = parse_image_name(text);
  return name ? name->text() : "refused";
}

TEST(ImageName, IsCompletedAsDockerDoes) {
  EXPECT_EQ(full("debian"), "docker.io/library/debian:latest");
  EXPECT_EQ(full("debian:12"), "docker.io/library/debian:12");
  EXPECT_EQ(full("docker://debian:12"), "docker.io/library/debian:12");
  EXPECT_EQ(full("docker.io/debian:12"), "docker.io/library/debian:12");
  EXPECT_EQ(full("index.docker.io/debian:12"), "docker.io/library/debian:12");
  EXPECT_EQ(full("docker.io/library/debian"), "docker.io/library/debian:latest");
  EXPECT_EQ(full("team/app"), "docker.io/team/app:latest");
  EXPECT_EQ(full("registry.example/team/app:1"), "registry.example/team/app:1");
  EXPECT_EQ(full("localhost/app"), "localhost/app:latest");
  EXPECT_EQ(full("localhost:5000/app"), "localhost:5000/app:latest");
  EXPECT_EQ(full("[::1]:5000/app"), "[::1]:5000/app:latest");
}

TEST(ImageName, ADigestCountsMoreThanATag) {
  const std::string digest = "sha256:" + std::string(64, 'a');
  EXPECT_EQ(full("debian@" + digest), "docker.io/library/debian@" + digest);
  EXPECT_EQ(full("debian:12@" + digest), "docker.io/library/debian@" + digest);
  EXPECT_EQ(full("localhost:5000/app@" + digest), "localhost:5000/app@" + digest);
  EXPECT_EQ(parse_image_name("localhost:5000/a/b@" + digest)->registry(), "localhost:5000");
}

TEST(ImageName, TakesAllThatTheGrammarDoes) {
  for (const std::string_view text : {"a---b", "a__b", "a_b", "a.b", "x:_x", "x:1.0-_b", "x:a..b", "x:tail_",
                                      "x:tail-", "x:UPPER", "0/1:2"})
    EXPECT_NE(full(text), "refused") << text;
  EXPECT_NE(full("x:" + std::string(128, 'a')), "refused");
}

TEST(ImageName, RefusesWhatIsNone) {
  for (const std::string& text : {std::string(),
                                  std::string("-v"),
                                  std::string("/etc"),
                                  std::string("a b"),
                                  std::string("a$b"),
                                  std::string("a\nb"),
                                  std::string(256, 'a'),
                                  std::string("a..b"),
                                  std::string("a___b"),
                                  std::string("_a"),
                                  std::string("a_"),
                                  std::string("a//b"),
                                  std::string("a/"),
                                  std::string("x:"),
                                  std::string("x:-a"),
                                  std::string("x:.a"),
                                  std::string("x:") + std::string(129, 'a'),
                                  std::string("Debian"),
                                  std::string("x@sha256:00"),
                                  std::string("x@"),
                                  std::string("./rootfs"),
                                  std::string("http://localhost/x")}) {
    const auto name = parse_image_name(text);
    ASSERT_FALSE(name) << text;
    EXPECT_NE(name.error().text.find("is no image of a registry"), std::string::npos) << name.error().text;
  }
  EXPECT_NE(parse_image_name("Debian").error().text.find("small letters"), std::string::npos);
}

TEST(FamiliarName, IsAsPeopleWriteIt) {
  EXPECT_EQ(familiar_name("docker.io/library/debian"), "debian");
  EXPECT_EQ(familiar_name("docker.io/team/app"), "team/app");
  EXPECT_EQ(familiar_name("registry.example/app"), "registry.example/app");
}

TEST(SplitName, CutsWhatAnybodyWrote) {
  EXPECT_EQ(split_name("localhost:5000/app").repository, "localhost:5000/app");
  EXPECT_EQ(split_name("localhost:5000/app").tag, "");
  EXPECT_EQ(split_name("localhost:5000/app:1").tag, "1");
  EXPECT_EQ(split_name("a@sha256:0").digest, "sha256:0");
  EXPECT_EQ(split_name("").repository, "");
}

}  // namespace
}  // namespace layerboot::launcher
