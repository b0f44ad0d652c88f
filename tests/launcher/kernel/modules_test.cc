#include "launcher/kernel/modules.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace layerboot::launcher {
namespace {

using Files = std::vector<std::string>;

ModuleTexts modular_kernel() {
  ModuleTexts texts;
  texts.dep =
      "kernel/virtio/virtio.ko.xz:\n"
      "kernel/virtio/virtio_ring.ko.xz: kernel/virtio/virtio.ko.xz\n"
      "kernel/virtio/virtio_pci.ko.xz: kernel/virtio/virtio_ring.ko.xz kernel/virtio/virtio.ko.xz\n"
      "kernel/virtio/virtio_mmio.ko.xz: kernel/virtio/virtio_ring.ko.xz kernel/virtio/virtio.ko.xz\n"
      "kernel/char/virtio-rng.ko.xz: kernel/virtio/virtio.ko.xz\n"
      "kernel/gpu/virtio-gpu.ko.xz: kernel/virtio/virtio.ko.xz\n"
      "kernel/fs/fuse.ko.xz:\n"
      "kernel/fs/virtiofs.ko.xz: kernel/fs/fuse.ko.xz kernel/virtio/virtio_ring.ko.xz "
      "kernel/virtio/virtio.ko.xz\n"
      "kernel/fs/xfs.ko.xz:\n";
  texts.alias =
      "alias pci:v00001AF4d*sv*sd*bc*sc*i* virtio_pci\n"
      "alias acpi*:LNRO0005:* virtio_mmio\n"
      "alias virtio:d00000004v* virtio_rng\n"
      "alias virtio:d00000010v* virtio_gpu\n"
      "alias virtio:d0000001Av* virtiofs\n"
      "alias fs-virtiofs virtiofs\n"
      "alias fs-xfs xfs\n";
  texts.builtin = "kernel/fs/ext4/ext4.ko\n";
  return texts;
}

TEST(Modules, TakesWhatServesABootAndItsDependencies) {
  const auto selection = select_modules(modular_kernel(), boot_aliases());
  Files files = selection.files;
  std::sort(files.begin(), files.end());
  EXPECT_EQ(files, (Files{"kernel/char/virtio-rng.ko.xz", "kernel/fs/fuse.ko.xz", "kernel/fs/virtiofs.ko.xz",
                          "kernel/virtio/virtio.ko.xz", "kernel/virtio/virtio_mmio.ko.xz",
                          "kernel/virtio/virtio_pci.ko.xz", "kernel/virtio/virtio_ring.ko.xz"}));
}

TEST(Modules, TheInitrdsIndexNamesItsOwnFilesUncompressed) {
  const auto selection = select_modules(modular_kernel(), {"fs-virtiofs"});
  EXPECT_EQ(
      selection.dep,
      "kernel/virtio/virtio.ko:\n"
      "kernel/virtio/virtio_ring.ko: kernel/virtio/virtio.ko\n"
      "kernel/fs/fuse.ko:\n"
      "kernel/fs/virtiofs.ko: kernel/fs/fuse.ko kernel/virtio/virtio_ring.ko kernel/virtio/virtio.ko\n");
  EXPECT_EQ(selection.alias, "alias virtio:d0000001Av* virtiofs\nalias fs-virtiofs virtiofs\n");
}

TEST(Modules, AKernelWithAllBuiltInNeedsNone) {
  ModuleTexts texts;
  texts.builtin_modinfo = std::string("virtiofs.license=GPL\0virtiofs.alias=fs-virtiofs\0", 47);
  EXPECT_TRUE(serves(texts, "fs-virtiofs"));
  EXPECT_TRUE(select_modules(texts, boot_aliases()).files.empty());
}

TEST(Modules, KnowsWhatAKernelCanServe) {
  const ModuleTexts texts = modular_kernel();
  EXPECT_TRUE(serves(texts, "fs-virtiofs"));
  EXPECT_TRUE(serves(texts, "fs-ext4")) << "by its name in modules.builtin";
  EXPECT_FALSE(serves(texts, "fs-btrfs"));
  EXPECT_FALSE(serves(ModuleTexts{}, "fs-virtiofs"));
}

TEST(Modules, DropsACompressionsSuffixOnly) {
  EXPECT_EQ(uncompressed_name("a/b.ko.xz"), "a/b.ko");
  EXPECT_EQ(uncompressed_name("a/b.ko.zst"), "a/b.ko");
  EXPECT_EQ(uncompressed_name("a/b.ko.gz"), "a/b.ko");
  EXPECT_EQ(uncompressed_name("a/b.ko"), "a/b.ko");
}

}  // namespace
}  // namespace layerboot::launcher
