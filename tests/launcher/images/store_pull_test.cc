#include "launcher/images/store_pull.h"

#include <fcntl.h>
#include <gtest/gtest.h>

#include "launcher/images/store_leftovers.h"
#include "oci-mount/base/files.h"
#include "tests/support/image_builder.h"
#include "tests/support/temp_dir.h"

namespace layerboot::launcher {
namespace {

TEST(FullName, IsCompletedAsDockerDoes) {
  const auto full = [](std::string_view text) { return full_name(text).value_or("refused"); };
  EXPECT_EQ(full("debian"), "docker.io/library/debian:latest");
  EXPECT_EQ(full("debian:12"), "docker.io/library/debian:12");
  EXPECT_EQ(full("docker://debian:12"), "docker.io/library/debian:12");
  EXPECT_EQ(full("team/app"), "docker.io/team/app:latest");
  EXPECT_EQ(full("quay.io/team/app:1"), "quay.io/team/app:1");
  EXPECT_EQ(full("localhost/app"), "localhost/app:latest");
  EXPECT_EQ(full("localhost:5000/app"), "localhost:5000/app:latest");
}

TEST(FullName, RefusesWhatIsNone) {
  for (const std::string& text : {std::string(), std::string("-v"), std::string("/etc"), std::string("a b"),
                                  std::string("a$b"), std::string("a\nb"), std::string(256, 'a')}) {
    const auto name = full_name(text);
    ASSERT_FALSE(name) << text;
    EXPECT_NE(name.error().text.find("is no image of a registry"), std::string::npos) << name.error().text;
  }
}

TEST(PullImage, AStoreThatSkopeoCannotNameIsRefused) {
  const test::TempDir dir;
  const auto pulled = pull_image(dir / "a:b", {.reference = "debian:12", .show_progress = false});
  ASSERT_FALSE(pulled);
  EXPECT_NE(pulled.error().text.find("XDG_DATA_HOME"), std::string::npos) << pulled.error().text;
  EXPECT_FALSE(std::filesystem::exists(dir / "a:b"));
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
