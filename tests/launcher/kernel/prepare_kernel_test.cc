#include "launcher/kernel/prepare_kernel.h"

#include "tests/launcher/kernel/scratch.h"

namespace layerboot::launcher {
namespace {

class PrepareKernel : public ScratchTest {
 protected:
  static void make_kernel(const std::filesystem::path& directory) {
    write(directory / "vmlinuz", "image");
    write(directory / "release", "6.1.0-test\n");
    write(directory / "config", "CONFIG_VIRTIO_FS=y\n");
    write(directory / "modules.tar", "tar");
    write(directory / "modules.cpio", "cpio of the modules, ");
  }

  static std::filesystem::perms others_rights(const std::filesystem::path& path) {
    using std::filesystem::perms;
    return std::filesystem::status(path).permissions() & (perms::group_all | perms::others_all);
  }

  const StateDirs dirs_{scratch_ / "data", scratch_ / "cache", scratch_ / "run"};
};

TEST_F(PrepareKernel, UsesWhatIsKept) {
  make_kernel(dirs_.kernels() / "debian");
  const auto kernel = prepare_kernel(dirs_, "debian", LAYERBOOT_GUEST_INIT);
  ASSERT_TRUE(kernel) << kernel.error().text;
  EXPECT_EQ(kernel->release, "6.1.0-test");
  EXPECT_EQ(kernel->modules_tar, dirs_.kernels() / "debian/modules.tar");
  const std::string initrd = read(kernel->initrd);
  EXPECT_TRUE(initrd.starts_with("cpio of the modules, 070701"));
  EXPECT_NE(initrd.find(read(LAYERBOOT_GUEST_INIT)), std::string::npos);

  const auto written = std::filesystem::last_write_time(kernel->initrd);
  const auto again = prepare_kernel(dirs_, "debian", LAYERBOOT_GUEST_INIT);
  ASSERT_TRUE(again);
  EXPECT_EQ(again->initrd, kernel->initrd);
  EXPECT_EQ(std::filesystem::last_write_time(again->initrd), written);
}

TEST_F(PrepareKernel, AnotherGuestInitGivesAnotherInitrdAndTakesTheOldAway) {
  make_kernel(dirs_.kernels() / "debian");
  const auto first = prepare_kernel(dirs_, "debian", LAYERBOOT_GUEST_INIT);
  ASSERT_TRUE(first);
  write(scratch_ / "guest-init", read(LAYERBOOT_GUEST_INIT) + "newer");
  const auto second = prepare_kernel(dirs_, "debian", scratch_ / "guest-init");
  ASSERT_TRUE(second) << second.error().text;
  EXPECT_NE(first->initrd, second->initrd);
  EXPECT_FALSE(std::filesystem::exists(first->initrd));
  EXPECT_TRUE(std::filesystem::exists(second->initrd));
}

TEST_F(PrepareKernel, APersonsDirectoryIsLeftAsItIs) {
  make_kernel(scratch_ / "mine");
  std::filesystem::remove(scratch_ / "mine/modules.tar");
  std::filesystem::remove(scratch_ / "mine/modules.cpio");
  const std::size_t before = entries(scratch_ / "mine");
  const auto kernel = prepare_kernel(dirs_, (scratch_ / "mine").string(), LAYERBOOT_GUEST_INIT);
  ASSERT_TRUE(kernel) << kernel.error().text;
  EXPECT_EQ(entries(scratch_ / "mine"), before);
  EXPECT_EQ(kernel->vmlinuz, scratch_ / "mine/vmlinuz");
  EXPECT_TRUE(kernel->modules_tar.empty());
  EXPECT_TRUE(std::filesystem::exists(kernel->initrd));
  EXPECT_EQ(others_rights(kernel->initrd.parent_path()), std::filesystem::perms::none)
      << "the directory may be private";
}

TEST_F(PrepareKernel, WhatIsMadeOfAForeignKernelIsForItsOwnerAlone) {
  std::string image(2048, '\0');
  image.replace(0x202, 4, "HdrS");
  image[0x20f] = '\x02';
  image.replace(0x400, 8, "6.1-mine");
  write(scratch_ / "mine/vmlinuz", image);
  write(scratch_ / "mine/config", "CONFIG_VIRTIO_FS=y\nCONFIG_VIRTIO_PCI=y\n");
  const auto kernel = prepare_kernel(dirs_, (scratch_ / "mine/vmlinuz").string(), LAYERBOOT_GUEST_INIT);
  ASSERT_TRUE(kernel) << kernel.error().text;
  EXPECT_EQ(entries(dirs_.kernels()), 1U);
  EXPECT_EQ(others_rights(kernel->vmlinuz.parent_path()), std::filesystem::perms::none);
}

TEST_F(PrepareKernel, AMissingOrWrongGuestInitIsSaid) {
  make_kernel(dirs_.kernels() / "debian");
  auto kernel = prepare_kernel(dirs_, "debian", scratch_ / "absent");
  ASSERT_FALSE(kernel);
  EXPECT_NE(kernel.error().text.find("guest-init is missing"), std::string::npos);
  write(scratch_ / "script", "#!/bin/sh\n");
  kernel = prepare_kernel(dirs_, "debian", scratch_ / "script");
  ASSERT_FALSE(kernel);
  EXPECT_NE(kernel.error().text.find("not a static program"), std::string::npos);
}

TEST_F(PrepareKernel, AMissingKernelDirectoryIsSaid) {
  const auto kernel = prepare_kernel(dirs_, (scratch_ / "none").string(), LAYERBOOT_GUEST_INIT);
  ASSERT_FALSE(kernel);
  EXPECT_EQ(kernel.error().code, ENOENT);
  EXPECT_FALSE(std::filesystem::exists(dirs_.data)) << "nothing is made for a kernel that is not there";
}

TEST_F(PrepareKernel, AKernelThatIsNotToBeHadLeavesNothingBehind) {
  const auto kernel = prepare_kernel(dirs_, "debian:0.1", LAYERBOOT_GUEST_INIT);
  ASSERT_FALSE(kernel);
  EXPECT_EQ(entries(dirs_.kernels()), 0U);
}

}  // namespace
}  // namespace layerboot::launcher
