// The default image through `oci-mount mount` is what `umoci unpack` makes of it, to the last attribute and
// byte.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>

#include "oci-mount/base/str_cat.h"
#include "tests/process/mount_listing.h"
#include "tests/process/mount_support.h"
#include "tests/support/image_builder.h"
#include "tests/support/temp_dir.h"

namespace layerboot::test {
namespace {

namespace fs = std::filesystem;

TEST(MountDifferential, TheDefaultImageIsAsUmociUnpacksIt) {
  if (const std::string why = why_no_fuse(); !why.empty()) GTEST_SKIP() << why;
  if (::geteuid() != 0) GTEST_SKIP() << "only root can unpack owners and devices to compare with";
  const char* const layout = std::getenv("LAYERBOOT_TEST_IMAGE");
  ASSERT_TRUE(layout != nullptr && fs::exists(fs::path(layout) / "index.json"))
      << "the default image is missing: run `./dev test`, which builds it, or set LAYERBOOT_TEST_IMAGE to an "
         "OCI layout";
  const TempDir dir;
  const Outcome unpacked =
      run_program({"umoci", "unpack", "--image", std::string(layout) + ":latest", (dir / "bundle").string()},
                  dir / "cache");
  ASSERT_EQ(unpacked.exit_code, 0) << unpacked.err << "\n(umoci is in the Debian package of that name)";
  fs::create_directories(dir / "mnt");
  const Mounted mounted({str_cat("oci:", layout)}, dir / "cache", dir / "mnt");
  ASSERT_TRUE(is_mountpoint(dir / "mnt")) << mounted.messages();

  const Listing ours = list_tree(dir / "mnt");
  EXPECT_GT(ours.size(), 1000U);
  expect_same(ours, "mounted", list_tree(dir / "bundle/rootfs"), "unpacked");
  std::printf("%zu files and directories are the same\n", ours.size());
}

}  // namespace
}  // namespace layerboot::test
