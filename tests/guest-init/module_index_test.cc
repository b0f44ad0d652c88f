#include "guest-init/module_index.h"

#include <gtest/gtest.h>

namespace guest_init {
namespace {

using Files = std::vector<std::string>;

constexpr const char* kDep =
    "kernel/virtio/virtio.ko:\n"
    "kernel/virtio/virtio_ring.ko: kernel/virtio/virtio.ko\n"
    "kernel/virtio/virtio_pci.ko: kernel/virtio/virtio_ring.ko kernel/virtio/virtio.ko\n"
    "kernel/net/virtio_net.ko: kernel/net/net_failover.ko kernel/net/failover.ko kernel/virtio/virtio.ko\n"
    "kernel/char/virtio-rng.ko: kernel/virtio/virtio.ko\n"
    "kernel/fs/virtiofs.ko: kernel/fs/fuse.ko\n";
constexpr const char* kAlias =
    "# Aliases extracted from modules themselves.\n"
    "alias pci:v00001AF4d*sv*sd*bc*sc*i* virtio_pci\n"
    "alias virtio:d00000001v* virtio_net\n"
    "alias virtio:d00000004v* virtio-rng\n"
    "alias virtio:d0000001Av* virtiofs\n"
    "alias fs-virtiofs virtiofs\n";

TEST(ModuleIndex, GivesTheLoadingOrderForAModalias) {
  const ModuleIndex index(kDep, kAlias);
  EXPECT_EQ(
      index.files_for("pci:v00001AF4d00001041sv00001AF4sd00001100bc02sc00i00"),
      (Files{"kernel/virtio/virtio.ko", "kernel/virtio/virtio_ring.ko", "kernel/virtio/virtio_pci.ko"}));
  EXPECT_EQ(index.files_for("virtio:d00000001v00001AF4"),
            (Files{"kernel/virtio/virtio.ko", "kernel/net/failover.ko", "kernel/net/net_failover.ko",
                   "kernel/net/virtio_net.ko"}));
}

TEST(ModuleIndex, DashAndUnderscoreAreTheSameInAModulesName) {
  const ModuleIndex index(kDep, kAlias);
  const Files expected = {"kernel/virtio/virtio.ko", "kernel/char/virtio-rng.ko"};
  EXPECT_EQ(index.files_for("virtio:d00000004v00001AF4"), expected);
  EXPECT_EQ(index.files_for("virtio_rng"), expected);
  EXPECT_EQ(index.files_for("virtio-rng"), expected);
}

TEST(ModuleIndex, FindsTheModuleOfAFileSystem) {
  const ModuleIndex index(kDep, kAlias);
  EXPECT_EQ(index.files_for("fs-virtiofs"), (Files{"kernel/fs/fuse.ko", "kernel/fs/virtiofs.ko"}));
}

TEST(ModuleIndex, NothingServesAnUnknownDevice) {
  const ModuleIndex index(kDep, kAlias);
  EXPECT_TRUE(index.files_for("pci:v00008086d00002922sv00001AF4sd00001100bc01sc06i01").empty());
  EXPECT_TRUE(index.files_for("fs-ext4").empty());
  EXPECT_TRUE(index.files_for("").empty());
}

TEST(ModuleIndex, AnAliasOfAModuleThatIsNotHereIsNothing) {
  const ModuleIndex index("", kAlias);
  EXPECT_TRUE(index.empty());
  EXPECT_TRUE(index.files_for("fs-virtiofs").empty());
}

TEST(ModuleIndex, SkipsWhatDoesNotParse) {
  const ModuleIndex index("no colon here\n: kernel/x.ko\n\nkernel/good.ko:",
                          "alias\nalias only_pattern\nalias a* good");
  EXPECT_EQ(index.files_for("abc"), (Files{"kernel/good.ko"}));
}

TEST(ModuleIndex, ABrokenFileCannotMakeTheListLong) {
  std::string dep = "kernel/x.ko:";
  for (int i = 0; i < 1000; ++i) dep += " kernel/d" + std::to_string(i) + ".ko";
  EXPECT_EQ(ModuleIndex(dep, "").files_for("x").size(), ModuleIndex::kMaxClosure);
}

}  // namespace
}  // namespace guest_init
