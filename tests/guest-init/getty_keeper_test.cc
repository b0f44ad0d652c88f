#include "guest-init/getty_keeper.h"

#include <fcntl.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "guest-init/fd.h"
#include "tests/support/temp_dir.h"

namespace guest_init {
namespace {

namespace fs = std::filesystem;

TEST(GettyKeeper, IsForInitsWithoutAnInittabWhoseServicesHaveNoSerialLine) {
  const layerboot::test::TempDir dir;
  const auto needs = [&dir](std::string_view init) {
    const Fd root(open(dir.path().c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    return needs_getty_keeper(root.get(), init);
  };
  EXPECT_TRUE(needs("/sbin/openrc-init"));
  EXPECT_TRUE(needs("runit-init"));
  for (const char* init : {"/sbin/init", "/lib/systemd/systemd", "/bin/busybox", "", "/sbin/openrc-init/x"}) {
    EXPECT_FALSE(needs(init)) << init;
  }
  fs::create_directories(dir / "etc/runlevels/default");
  std::ofstream(dir / "etc/runlevels/default/agetty.tty1") << "";
  EXPECT_TRUE(needs("/sbin/openrc-init"));
  std::ofstream(dir / "etc/runlevels/default/agetty.ttyS0") << "";
  EXPECT_FALSE(needs("/sbin/openrc-init"));
}

}  // namespace
}  // namespace guest_init
