#include "launcher/images/store_pull.h"

#include <fcntl.h>
#include <gtest/gtest.h>

#include "launcher/images/notation_guess.h"
#include "launcher/images/pull_source.h"
#include "launcher/images/registry_image.h"
#include "launcher/images/skopeo.h"
#include "launcher/images/store_leftovers.h"
#include "oci-mount/base/files.h"
#include "tests/support/image_builder.h"
#include "tests/support/temp_dir.h"

namespace layerboot::launcher {
namespace {

TEST(PullSource, KnowsWhereImagesComeFrom) {
  const auto registry = parse_pull_source("debian:12", {});
  ASSERT_TRUE(registry) << registry.error().text;
  EXPECT_EQ(registry->text, "docker://docker.io/library/debian:12");
  EXPECT_EQ(registry->stored_name, "docker.io/library/debian:12");
  EXPECT_TRUE(registry->registry_name);
  EXPECT_EQ(parse_pull_source("debian:12", "mine")->stored_name, "docker.io/library/mine:latest");
  const auto docker = parse_pull_source("docker-daemon:app", {});
  ASSERT_TRUE(docker) << docker.error().text;
  EXPECT_EQ(docker->text, "docker-daemon:app:latest");
  EXPECT_EQ(docker->stored_name, "docker.io/library/app:latest");
  EXPECT_FALSE(docker->registry_name);
  const auto podman = parse_pull_source("containers-storage:[vfs@/a+/b]localhost/app:1", {});
  ASSERT_TRUE(podman) << podman.error().text;
  EXPECT_EQ(podman->stored_name, "localhost/app:1");
  EXPECT_EQ(parse_pull_source("dir:/copy", "app:2")->stored_name, "docker.io/library/app:2");
}

TEST(PullSource, FilesAreFoundFromAnywhere) {
  const test::TempDir dir;
  const auto text_in = [&](const std::filesystem::path& here, std::string_view text) {
    const auto before = std::filesystem::current_path();
    std::filesystem::create_directories(here);
    std::filesystem::current_path(here);
    const auto source = parse_pull_source(text, "app");
    std::filesystem::current_path(before);
    return source ? source->text : source.error().text;
  };
  const auto here = std::filesystem::canonical(dir.path());
  EXPECT_EQ(text_in(here, "dir:a:b"), "dir:" + (here / "a:b").string());
  EXPECT_EQ(text_in(here, "oci:a/b:latest"), "oci:" + (here / "a/b:latest").string());
  EXPECT_EQ(text_in(here, "oci-archive:a.tar"), "oci-archive:" + (here / "a.tar").string());
  EXPECT_EQ(text_in(here, "docker-archive:a.tar:team/x:1"),
            "docker-archive:" + (here / "a.tar:team/x:1").string());
  EXPECT_EQ(text_in(here, "docker-archive:a.tar:@1"), "docker-archive:" + (here / "a.tar:@1").string());
  EXPECT_EQ(text_in(here, "oci:/a:1"), "oci:/a:1");
  EXPECT_EQ(text_in(here / "x:y", "dir:a"), "dir:" + (here / "x:y/a").string());
  EXPECT_NE(text_in(here / "x:y", "oci:a:1").find("move it elsewhere"), std::string::npos);
}

TEST(PullSource, SaysWhatIsMissing) {
  EXPECT_NE(parse_pull_source("dir:/copy", {}).error().text.find("layerboot pull dir:/copy NAME"),
            std::string::npos);
  EXPECT_FALSE(parse_pull_source("dir:/copy", "Not A Name"));
  EXPECT_FALSE(parse_pull_source("dir:/copy", "x@sha256:" + std::string(64, 'a')));
  EXPECT_FALSE(parse_pull_source("oci:somewhere/$x", {}));
}

TEST(Platform, IsOsAndArchitecture) {
  const auto arm = store::parse_platform("linux/arm/v7");
  ASSERT_TRUE(arm) << arm.error().text;
  EXPECT_EQ(arm->architecture, "arm");
  EXPECT_EQ(arm->variant, "v7");
  EXPECT_EQ(store::platform_text(*arm), "linux/arm/v7");
  for (const std::string_view text : {"", "arm64", "linux/", "/arm64", "linux/arm/v7/x", "linux/--all"})
    EXPECT_FALSE(store::parse_platform(text)) << text;
}

TEST(SkopeoMessage, IsWhatWasWrong) {
  EXPECT_EQ(skopeo_message(R"(time="now" level=fatal msg="no \"x\" here: gone")"), "no \"x\" here: gone");
  EXPECT_EQ(skopeo_message("level=fatal msg=gone\n"), "gone");
  EXPECT_EQ(skopeo_message("killed"), "killed");
  EXPECT_EQ(skopeo_message(R"(msg="Error parsing image name \"docker://h:1/x:1\": no such host")"),
            "no such host");
  EXPECT_EQ(skopeo_message(R"(msg="initializing source docker://h:1/x:1: not there")"), "not there");
  EXPECT_EQ(skopeo_message(R"(msg="cut)"), "cut");
}

TEST(SkopeoMessage, HelpsWhereHelpIsKnown) {
  EXPECT_EQ(skopeo_remedy("http: server gave HTTP response to HTTPS client"),
            "; --tls-verify=false takes plain http");
  EXPECT_NE(skopeo_remedy("dial tcp: lookup x on 127.0.0.1:53: no such host").find("docker-archive:FILE"),
            std::string::npos);
  EXPECT_NE(skopeo_remedy("unauthorized: authentication required").find("skopeo login"), std::string::npos);
  EXPECT_EQ(skopeo_remedy("manifest unknown"), "");
}

TEST(NearNames, AreASlipOrATagAway) {
  using Names = std::vector<std::string>;
  const Names known{"docker.io/library/debian:12", "docker.io/library/debian:13",
                    "registry.example/team/server:1", ""};
  EXPECT_EQ(near_names("debain:12", known), (Names{"debian:12", "debian:13"}));
  EXPECT_EQ(near_names("debian:11", known), (Names{"debian:12", "debian:13"}));
  EXPECT_EQ(near_names("server", known), (Names{"registry.example/team/server:1"}));
  EXPECT_EQ(near_names("ubuntu", known), Names());
  EXPECT_EQ(near_names("", known), Names());
  EXPECT_EQ(near_names(std::string(100'000, 'a'), known), Names());
}

TEST(Leftovers, OfAPullThatWasKilled) {
  const test::TempDir dir;
  std::filesystem::create_directories(dir / ".pull.making-abcdef/blobs/sha256");
  test::write_text(dir / ".pull.making-abcdef/blobs/sha256/x", "bytes");
  test::write_text(dir / ".pull.making-abcdef/index.json", "{}");
  {
    const auto writer = open_path(dir / ".pull.making-abcdef/index.json", O_RDWR);
    ASSERT_TRUE(writer);
    EXPECT_EQ(remove_leftovers(dir.path())->files, 1U);
    EXPECT_TRUE(std::filesystem::exists(dir / ".pull.making-abcdef/index.json"));
  }
  EXPECT_EQ(remove_leftovers(dir.path())->files, 1U);
  EXPECT_FALSE(std::filesystem::exists(dir / ".pull.making-abcdef"));
}

TEST(Leftovers, GoUnlessSomebodyWritesThem) {
  const test::TempDir dir;
  EXPECT_EQ(remove_leftovers(dir / "none")->files, 0U);
  test::write_text(dir / "oci-put-blob111", std::string(10'000, 'x'));
  test::write_text(dir / "oci-put-blob222", "busy");
  test::write_text(dir / "index.json", "{}");
  std::filesystem::create_directory(dir / "oci-put-blob-directory");
  {
    const auto writer = open_path(dir / "oci-put-blob222", O_RDWR);
    ASSERT_TRUE(writer);
    const auto removed = remove_leftovers(dir.path());
    ASSERT_TRUE(removed) << removed.error().text;
    EXPECT_EQ(removed->files, 1U);
    EXPECT_GE(removed->freed_bytes, 10'000U);
    EXPECT_TRUE(std::filesystem::exists(dir / "oci-put-blob222"));
  }
  EXPECT_EQ(remove_leftovers(dir.path())->files, 1U);
  EXPECT_TRUE(std::filesystem::exists(dir / "index.json"));
  EXPECT_TRUE(std::filesystem::exists(dir / "oci-put-blob-directory"));
}

}  // namespace
}  // namespace layerboot::launcher
