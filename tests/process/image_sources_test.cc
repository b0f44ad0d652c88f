// Images from where people keep them, made by the real tools: skopeo's archives, containerd's content store.
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

#include "oci-mount/base/str_cat.h"
#include "tests/process/mount_support.h"
#include "tests/process/private_containerd.h"
#include "tests/support/image_builder.h"
#include "tests/support/tar_builder.h"
#include "tests/support/temp_dir.h"

namespace layerboot::test {
namespace {

namespace fs = std::filesystem;

bool is_installed(const char* program) {
  return fs::exists(fs::path("/usr/bin") / program) || fs::exists(fs::path("/usr/local/bin") / program);
}

class ImageSourcesTest : public testing::Test {
 protected:
  void SetUp() override {
    big_ = sample_bytes(1'500'000, 7);
    TarBuilder lower;
    lower.directory("etc").file("etc/hostname", "lower\n").file("etc/gone", "x").file("big", big_);
    TarBuilder upper;
    upper.file("etc/hostname", "upper\n").whiteout("etc/gone");
    ImageBuilder image(dir_ / "image");
    image.add_gzip_layer(lower.finish()).add_gzip_layer(upper.finish());
    image.write("v1");
  }
  Outcome tool(std::vector<std::string> words) const {
    words.insert(words.begin(), LAYERBOOT_OCI_MOUNT);
    return run_program(words, dir_ / "cache");
  }
  Outcome run(const std::vector<std::string>& words) const { return run_program(words, dir_ / "cache"); }
  std::string path(const char* name) const { return (dir_ / name).string(); }
  /// That `reference` gives the image of SetUp().
  void expect_image(const std::string& reference) const {
    const Outcome list = tool({"ls", "-R", reference});
    EXPECT_EQ(list.out, "big\netc\netc/hostname\n") << reference << ": " << list.err;
    EXPECT_EQ(tool({"cat", reference, "/etc/hostname"}).out, "upper\n") << reference;
    EXPECT_TRUE(tool({"cat", reference, "/big"}).out == big_) << reference;
  }

  TempDir dir_;
  std::string big_;
};

TEST_F(ImageSourcesTest, ArchivesThatSkopeoMakes) {
  if (!is_installed("skopeo")) GTEST_SKIP() << "skopeo is not installed: ./dev setup installs it";
  const std::string layout = str_cat("oci:", path("image"), ":v1");
  for (const std::string& to : {str_cat("oci-archive:", path("oci.tar"), ":v1"),
                                str_cat("docker-archive:", path("docker.tar"), ":example.org/one:v1")}) {
    const Outcome copied = run({"skopeo", "copy", "--quiet", layout, to});
    ASSERT_EQ(copied.exit_code, 0) << copied.err;
    expect_image(to);
  }
  expect_image(str_cat("oci-archive:", path("oci.tar")));
  expect_image(str_cat("docker-archive:", path("docker.tar")));
  // The layers lie in the archive: without it there is nothing.
  fs::remove(dir_ / "oci.tar");
  EXPECT_EQ(tool({"cat", str_cat("oci-archive:", path("oci.tar")), "/etc/hostname"}).exit_code, 1);
}

// With Go's pgzip, in pieces that are decoded side by side.
TEST_F(ImageSourcesTest, GzipLayersThatSkopeoMakes) {
  if (!is_installed("skopeo")) GTEST_SKIP() << "skopeo is not installed: ./dev setup installs it";
  const std::string large = sample_bytes(7'000'000, 9);
  ImageBuilder image(dir_ / "large");
  image.add_plain_layer(TarBuilder().file("large", large).finish());
  image.write("v1");
  const std::string plain = str_cat("docker-archive:", path("docker.tar"), ":example.org/one:v1");
  const std::string gzip = str_cat("oci:", path("gzip"), ":v1");
  ASSERT_EQ(run({"skopeo", "copy", "--quiet", str_cat("oci:", path("large"), ":v1"), plain}).exit_code, 0);
  const Outcome copied =
      run({"skopeo", "copy", "--quiet", "--dest-compress", "--dest-compress-format", "gzip", plain, gzip});
  ASSERT_EQ(copied.exit_code, 0) << copied.err;
  EXPECT_NE(tool({"index", gzip, "-q"}).out.find(" gzip "), std::string::npos);
  EXPECT_TRUE(tool({"cat", gzip, "/large"}).out == large);
  EXPECT_EQ(tool({"verify", gzip, "-q"}).exit_code, 0);
}

// One frame a layer, as docker buildx has it too.
TEST_F(ImageSourcesTest, ZstdLayersThatSkopeoMakes) {
  if (!is_installed("skopeo")) GTEST_SKIP() << "skopeo is not installed: ./dev setup installs it";
  const std::string large = sample_bytes(7'000'000, 8);
  ImageBuilder image(dir_ / "large");
  image.add_plain_layer(TarBuilder().file("large", large).finish());
  image.write("v1");
  const std::string plain = str_cat("docker-archive:", path("docker.tar"), ":example.org/one:v1");
  const std::string zstd = str_cat("oci:", path("zstd"), ":v1");
  ASSERT_EQ(run({"skopeo", "copy", "--quiet", str_cat("oci:", path("large"), ":v1"), plain}).exit_code, 0);
  const Outcome copied =
      run({"skopeo", "copy", "--quiet", "--dest-compress", "--dest-compress-format", "zstd", plain, zstd});
  ASSERT_EQ(copied.exit_code, 0) << copied.err;
  EXPECT_TRUE(tool({"cat", zstd, "/large"}).out == large);
  std::size_t recut_files = 0;
  for (const auto& one : fs::recursive_directory_iterator(dir_ / "cache")) {
    if (one.path().extension() != ".zst") continue;
    ++recut_files;
    fs::remove(one.path());
    break;
  }
  EXPECT_EQ(recut_files, 1U);
  // A cache may be swept at any time.
  EXPECT_TRUE(tool({"cat", zstd, "/large"}).out == large);
}

TEST_F(ImageSourcesTest, ADirectoryAsItIs) {
  fs::create_directories(dir_ / "root/etc");
  write_text(dir_ / "root/etc/hostname", "upper\n");
  write_text(dir_ / "root/big", big_);
  expect_image(str_cat("dir:", path("root")));
  const Outcome none = tool({"ls", str_cat("dir:", path("none"))});
  EXPECT_EQ(none.exit_code, 1);
  EXPECT_NE(none.err.find("is no directory"), std::string::npos) << none.err;
}

TEST_F(ImageSourcesTest, ContainerdsContentStore) {
  if (::geteuid() != 0) GTEST_SKIP() << "containerd runs as root only";
  PrivateContainerd containerd(dir_ / "ctd");
  if (!containerd.works()) GTEST_SKIP() << containerd.why_not();
  containerd.put_into_environment();
  const auto imported = containerd.import(dir_ / "image", "v1");
  ASSERT_TRUE(imported) << imported.error().text;
  const std::string& name = *imported;
  expect_image("containerd:" + name);
  expect_image("containerd:case:v1");
  const Outcome none = tool({"ls", "containerd:case:v2"});
  EXPECT_EQ(none.exit_code, 1);
  EXPECT_NE(none.err.find("in containerd's namespace \"default\""), std::string::npos) << none.err;
  // What is mounted stays readable when containerd throws the image away.
  if (const std::string why = why_no_fuse(); !why.empty()) GTEST_SKIP() << why;
  fs::create_directories(dir_ / "mnt");
  const Mounted mounted({"containerd:case:v1"}, dir_ / "cache", dir_ / "mnt");
  ASSERT_EQ(containerd.ctr({"images", "rm", "--sync", name}).exit_code, 0);
  EXPECT_TRUE(fs::is_empty(containerd.blobs()));
  EXPECT_TRUE(read_text(dir_ / "mnt/big") == big_);
}

}  // namespace
}  // namespace layerboot::test
