#include "guest-init/root_paths.h"

#include <fcntl.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "guest-init/fd.h"
#include "tests/support/temp_dir.h"

namespace guest_init {
namespace {

namespace fs = std::filesystem;

TEST(MakeVolumes, AreThereWithTheirParentsAndInTheRootAlone) {
  const layerboot::test::TempDir dir;
  fs::create_directories(dir / "root/etc/app");
  fs::create_symlink("/elsewhere", dir / "root/link");
  fs::create_directories(dir / "root/elsewhere");
  const Fd root(open((dir / "root").c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  make_volume_directories(root.get(), {"/srv/data/", "/etc/app", "link/below", "/../out", "/"});
  EXPECT_TRUE(fs::is_directory(dir / "root/srv/data"));
  EXPECT_TRUE(fs::is_directory(dir / "root/etc/app"));
  EXPECT_TRUE(fs::is_directory(dir / "root/elsewhere/below"));
  EXPECT_TRUE(fs::is_directory(dir / "root/out"));
  EXPECT_FALSE(fs::exists(dir / "out"));
}

}  // namespace
}  // namespace guest_init
