#include "launcher/kernel/initrd.h"

#include "launcher/host/run_tool.h"
#include "tests/launcher/kernel/scratch.h"

namespace layerboot::launcher {
namespace {

class Initrd : public ScratchTest {
 protected:
  [[nodiscard]] std::string unpack(const std::string& archive) const {
    write(scratch_ / "a.cpio", archive);
    ToolSpec spec;
    std::filesystem::create_directories(scratch_ / "out");
    spec.argv = {"cpio", "-i", "--quiet", "-d", "-F", (scratch_ / "a.cpio").string()};
    spec.working_directory = scratch_ / "out";
    const auto ran = run_tool(spec);
    return ran ? "" : ran.error().text;
  }
};

TEST_F(Initrd, HoldsTheModulesUncompressedWithTheirIndex) {
  const auto modules = scratch_ / "modules";
  write(modules / "kernel/fs/fuse.ko", "fuse module");
  write(modules / "kernel/fs/virtiofs.ko", "virtiofs module");
  write(modules / "kernel/other.ko", "not wanted");
  ASSERT_TRUE(run_tool({"xz", (modules / "kernel/fs/virtiofs.ko").string()}));
  write(modules / "modules.dep",
        "kernel/fs/fuse.ko:\nkernel/fs/virtiofs.ko.xz: kernel/fs/fuse.ko\nkernel/other.ko:\n");
  write(modules / "modules.alias", "alias fs-virtiofs virtiofs\nalias fs-other other\n");
  const auto texts = read_module_texts(modules);
  ASSERT_TRUE(texts) << texts.error().text;
  const auto archive = modules_archive(modules, "6.1-test", *texts, boot_aliases());
  ASSERT_TRUE(archive) << archive.error().text;
  ASSERT_EQ(unpack(*archive), "");
  const auto inside = scratch_ / "out/lib/modules/6.1-test";
  EXPECT_EQ(read(inside / "kernel/fs/fuse.ko"), "fuse module");
  EXPECT_EQ(read(inside / "kernel/fs/virtiofs.ko"), "virtiofs module");
  EXPECT_EQ(read(inside / "modules.dep"), "kernel/fs/fuse.ko:\nkernel/fs/virtiofs.ko: kernel/fs/fuse.ko\n");
  EXPECT_EQ(read(inside / "modules.alias"), "alias fs-virtiofs virtiofs\n");
  EXPECT_FALSE(std::filesystem::exists(inside / "kernel/other.ko"));
}

TEST_F(Initrd, ABrokenModuleIsNamed) {
  const auto modules = scratch_ / "modules";
  write(modules / "kernel/virtiofs.ko.xz", "this is no xz");
  write(modules / "modules.dep", "kernel/virtiofs.ko.xz:\n");
  write(modules / "modules.alias", "alias fs-virtiofs virtiofs\n");
  const auto archive = modules_archive(modules, "6.1", *read_module_texts(modules), boot_aliases());
  ASSERT_FALSE(archive);
  EXPECT_NE(archive.error().text.find("kernel/virtiofs.ko.xz"), std::string::npos) << archive.error().text;
}

TEST_F(Initrd, NothingBesideTheModulesIsRead) {
  const auto modules = scratch_ / "modules";
  write(scratch_ / "secret", "the host's secret");
  const std::string absolute = (scratch_ / "secret").string();
  std::filesystem::create_directories(modules);
  std::filesystem::create_symlink("../secret", modules / "link.ko");
  // What depmod writes of a module's name with line feeds and colons in it.
  for (const std::string& file : {absolute, std::string("../secret"), std::string("link.ko")}) {
    write(modules / "modules.dep", file + ": \n");
    const std::string name = std::filesystem::path(file).stem().string();
    write(modules / "modules.alias", "alias fs-virtiofs " + name + "\n");
    const auto texts = read_module_texts(modules);
    ASSERT_TRUE(texts) << texts.error().text;
    const auto archive = modules_archive(modules, "6.1", *texts, boot_aliases());
    EXPECT_FALSE(archive && archive->contains("secret")) << file;
    EXPECT_FALSE(archive) << file;
  }
  std::filesystem::create_symlink(absolute, modules / "modules.builtin");
  const auto texts = read_module_texts(modules);
  EXPECT_FALSE(texts && texts->builtin.contains("secret"));
}

TEST_F(Initrd, HoldsInitBusyboxAndE2fsckAsPrograms) {
  ASSERT_EQ(unpack(*init_archive("init bytes", "busybox bytes", "e2fsck bytes")), "");
  EXPECT_EQ(read(scratch_ / "out/init"), "init bytes");
  EXPECT_EQ(read(scratch_ / "out/bin/busybox"), "busybox bytes");
  EXPECT_EQ(read(scratch_ / "out/bin/e2fsck"), "e2fsck bytes");
  EXPECT_EQ(std::filesystem::status(scratch_ / "out/init").permissions(), std::filesystem::perms(0755));
  EXPECT_TRUE(std::filesystem::is_directory(scratch_ / "out/newroot"));
  std::filesystem::remove_all(scratch_ / "out");
  ASSERT_EQ(unpack(*init_archive("init bytes", "", "")), "");
  EXPECT_FALSE(std::filesystem::exists(scratch_ / "out/bin/busybox"));
  EXPECT_FALSE(std::filesystem::exists(scratch_ / "out/bin/e2fsck"));
}

TEST_F(Initrd, TellsAStaticProgramFromOthers) {
  EXPECT_TRUE(is_static_program(read(LAYERBOOT_GUEST_INIT)));
  EXPECT_FALSE(is_static_program(read("/proc/self/exe")));
  EXPECT_FALSE(is_static_program("#!/bin/sh\n"));
  EXPECT_FALSE(is_static_program(""));
  EXPECT_FALSE(is_static_program(read(LAYERBOOT_GUEST_INIT).substr(0, 70)));
}

}  // namespace
}  // namespace layerboot::launcher
