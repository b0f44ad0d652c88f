#include "launcher/kernel/kernel_source.h"

#include "launcher/host/run_tool.h"
#include "oci-mount/base/str_cat.h"
#include "tests/launcher/kernel/scratch.h"

namespace layerboot::launcher {
namespace {

/// A bzImage's first sectors, as far as its release is concerned.
std::string image_with(std::string_view version) {
  std::string bytes(2048, '\0');
  bytes.replace(0x202, 4, "HdrS");
  bytes[0x20e] = '\x00';  // 0x400 - 0x200, low byte first
  bytes[0x20f] = '\x02';
  bytes.replace(0x400, version.size(), version);
  return bytes;
}

class KernelSource : public ScratchTest {
 protected:
  Result<void> make_file(const std::string& config) {
    write(scratch_ / "k/vmlinuz", image_with("6.1.2-mine (me@here) #1"));
    if (!config.empty()) write(scratch_ / "k/config-6.1.2-mine", config);
    const InterruptScope interrupts;
    return make_kernel({.kind = KernelSpec::Kind::kFile,
                        .series = {},
                        .image = {},
                        .directory = scratch_ / "k/vmlinuz",
                        .architecture = {}},
                       scratch_ / "work", scratch_ / "made", scratch_ / "run");
  }
};

TEST_F(KernelSource, TheReleaseIsInTheImage) {
  write(scratch_ / "good", image_with("6.1.192-layerboot (root@host) #1 SMP"));
  const auto release = release_of_image(scratch_ / "good");
  ASSERT_TRUE(release) << release.error().text;
  EXPECT_EQ(*release, "6.1.192-layerboot");
}

TEST_F(KernelSource, WhatIsNoImageIsRefused) {
  std::string far = image_with("6.1");
  far[0x20f] = '\xff';
  for (const std::string& bytes :
       {std::string(), std::string("text"), std::string(600, 'x'), image_with("../../etc"), image_with(""),
        far, image_with("6.1").substr(0, 0x20e)}) {
    write(scratch_ / "bad", bytes);
    const auto release = release_of_image(scratch_ / "bad");
    ASSERT_FALSE(release) << bytes.size();
    EXPECT_NE(release.error().text.find("no kernel image"), std::string::npos) << release.error().text;
  }
}

TEST_F(KernelSource, AFileWithAllBuiltInIsAKernel) {
  ASSERT_TRUE(make_file("CONFIG_VIRTIO_FS=y\nCONFIG_VIRTIO_PCI=y\n"));
  const auto kernel = open_kernel(scratch_ / "made");
  ASSERT_TRUE(kernel) << kernel.error().text;
  EXPECT_EQ(kernel->release, "6.1.2-mine");
  EXPECT_FALSE(kernel->has_modules);
}

TEST_F(KernelSource, ASymlinkToAFileIsThatFile) {
  write(scratch_ / "boot/vmlinuz-6.1.2-mine", image_with("6.1.2-mine"));
  std::filesystem::create_directories(scratch_ / "k");
  std::filesystem::create_symlink("../boot/vmlinuz-6.1.2-mine", scratch_ / "k/vmlinuz");
  write(scratch_ / "k/config", "CONFIG_VIRTIO_FS=y\nCONFIG_VIRTIO_PCI=y\n");
  const InterruptScope interrupts;
  ASSERT_TRUE(make_kernel({.kind = KernelSpec::Kind::kFile,
                           .series = {},
                           .image = {},
                           .directory = scratch_ / "k/vmlinuz",
                           .architecture = {}},
                          scratch_ / "work", scratch_ / "made", scratch_ / "run"));
  EXPECT_TRUE(std::filesystem::is_regular_file(std::filesystem::symlink_status(scratch_ / "made/vmlinuz")));
}

TEST_F(KernelSource, AFileThatNeedsModulesOrHasNoConfigurationIsRefused) {
  const auto modules = make_file("CONFIG_VIRTIO_FS=m\nCONFIG_VIRTIO_PCI=y\n");
  ASSERT_FALSE(modules);
  EXPECT_NE(modules.error().text.find("built in"), std::string::npos) << modules.error().text;
  std::filesystem::remove(scratch_ / "k/config-6.1.2-mine");
  const auto none = make_file("");
  ASSERT_FALSE(none);
  EXPECT_NE(none.error().text.find("config-6.1.2-mine"), std::string::npos) << none.error().text;
  EXPECT_FALSE(std::filesystem::exists(scratch_ / "made"));
}

}  // namespace
}  // namespace layerboot::launcher
