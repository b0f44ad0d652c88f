// The kernel package path on real packages: needs apt with Debian's package lists, and the network the first
// time.
#include "launcher/kernel/kernel_package.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>

#include "launcher/host/architecture.h"
#include "launcher/host/run_tool.h"
#include "launcher/kernel/kernel_copy.h"
#include "launcher/kernel/kernel_store.h"
#include "launcher/kernel/prepare_kernel.h"
#include "tests/launcher/kernel/scratch.h"

namespace layerboot::launcher {
namespace {

class KernelProcess : public ScratchTest {};

TEST_F(KernelProcess, FetchesDebiansKernelOnceAndWhole) {
  const std::filesystem::path state = LAYERBOOT_TEST_STATE;
  const StateDirs dirs{state / "data", state / "cache", state / "run"};
  const auto kernel = prepare_kernel(dirs, "debian", LAYERBOOT_GUEST_INIT);
  if (!kernel) GTEST_SKIP() << "no kernel package to be had here: " << kernel.error().describe();
  EXPECT_EQ(entries(dirs.kernels()), 1U) << "something half-made is left in " << dirs.kernels();

  const auto listing = run_tool({"tar", "--numeric-owner", "-tvf", kernel->modules_tar.string()});
  ASSERT_TRUE(listing) << listing.error().text;
  EXPECT_NE(listing->find(" usr/lib/modules/" + kernel->release + "/modules.dep\n"), std::string::npos);
  EXPECT_NE(listing->find(" boot/config-" + kernel->release + "\n"), std::string::npos);
  EXPECT_EQ(listing->find(" usr/\n"), std::string::npos)
      << "the image's own directories must keep their attributes";
  std::istringstream lines(*listing);
  for (std::string line; std::getline(lines, line);) {
    ASSERT_NE(line.find(" 0/0 "), std::string::npos) << line;
    ASSERT_NE(line.find(" 1970-01-01 "), std::string::npos) << line;
  }
}

/// With programs of our own before apt's.
class FakeApt : public ScratchTest {
 protected:
  void SetUp() override {
    const std::filesystem::path apt_get = "/usr/bin/apt-get";
    if (!std::filesystem::exists(apt_get)) GTEST_SKIP() << "no apt here";
    ::setenv("PATH", ((scratch_ / "bin").string() + ":" + path_).c_str(), 1);
    ::setenv("SCRATCH", scratch_.c_str(), 1);
  }
  void TearDown() override {
    ::setenv("PATH", path_.c_str(), 1);
    ::unsetenv("APT_CONFIG");
    ::unsetenv("SCRATCH");
  }
  void program(const std::string& name, const std::string& script) const {
    write(scratch_ / "bin" / name, "#!/bin/sh\n" + script);
    std::filesystem::permissions(scratch_ / "bin" / name, std::filesystem::perms::owner_all);
  }
  Result<void> fetch() const {
    const InterruptScope interrupts;
    const auto arm64 = std::ranges::find(architectures(), "arm64", &Architecture::name);
    std::filesystem::create_directories(scratch_ / "work");
    return fetch_debian_kernel("", *arm64, scratch_ / "work", scratch_ / "into");
  }

  const std::string path_ = ::getenv("PATH");
};

constexpr const char* kOneSource =
    "[ $1 != indextargets ] || { . /etc/os-release\n"
    "  echo \"Packages|Debian|Debian|$VERSION_CODENAME|file:$SCRATCH/archive/|main\"; exit 0; }\n";

TEST_F(FakeApt, AReleaseWithoutBackportsHasKernelsForOtherMachines) {
  if (!is_foreign(**architecture_for({"linux", "arm64", {}}))) GTEST_SKIP() << "arm64 is this machine's own";
  program("apt-get", std::string(kOneSource) +
                         "case \" $* \" in\n"
                         "*' update '*) ! grep -q -e -backports $SCRATCH/work/apt/sources.list || "
                         "{ echo 'E: no Release file' >&2; exit 100; } ;;\n"
                         "*' download '*) echo \"$*\" > $SCRATCH/downloaded; exit 100 ;;\nesac\n");
  program("apt-cache",
          "for package; do :; done\n"
          "echo \"Package: $package\"; echo Version: 6.12.1-1; echo Size: 7\n"
          "echo Depends: linux-image-6.12.1-cloud-arm64\n");
  EXPECT_FALSE(fetch()) << "nothing is downloaded";
  const std::string downloaded = read(scratch_ / "downloaded");
  EXPECT_NE(downloaded.find("linux-image-6.12.1-cloud-arm64"), std::string::npos) << downloaded;
  EXPECT_EQ(downloaded.find("Default-Release"), std::string::npos) << downloaded;
}

TEST_F(FakeApt, TheHostsHooksAndPinsAreNotOurs) {
  write(scratch_ / "conf.d/hook", "APT::Update::Pre-Invoke {\"touch " + (scratch_ / "hook").string() +
                                      "\";};\nAPT::Update::Post-Invoke {\"touch " +
                                      (scratch_ / "hook").string() + "\";};\n");
  write(scratch_ / "apt.conf", "Dir::Etc::Parts \"" + (scratch_ / "conf.d").string() + "\";\n");
  ::setenv("APT_CONFIG", (scratch_ / "apt.conf").c_str(), 1);
  program("apt-get", std::string(kOneSource) +
                         "case \" $* \" in *' update '*) /usr/bin/apt-config \"$1\" \"$2\" dump > "
                         "$SCRATCH/settings;; esac\n"
                         "exec /usr/bin/apt-get \"$@\"\n");
  EXPECT_FALSE(fetch()) << "the archive is empty";
  EXPECT_FALSE(std::filesystem::exists(scratch_ / "hook")) << "a hook of the host's has run";
  const std::string settings = read(scratch_ / "settings");
  EXPECT_NE(settings.find((scratch_ / "work/apt/preferences.d").string()), std::string::npos) << settings;
}

TEST_F(KernelProcess, ATreeWithoutVirtiofsIsRefused) {
  const auto tree = scratch_ / "tree";
  write(tree / "boot/vmlinuz-4.9-old", "image");
  write(tree / "boot/config-4.9-old", "");
  write(tree / "lib/modules/4.9-old/modules.builtin", "kernel/fs/ext4/ext4.ko\n");
  write(tree / "lib/modules/4.9-old/modules.order", "");
  const auto made = kernel_from_tree(tree, scratch_ / "kernel");
  ASSERT_FALSE(made);
  EXPECT_NE(made.error().text.find("4.9-old has no virtiofs"), std::string::npos) << made.error().text;
  EXPECT_FALSE(std::filesystem::exists(scratch_ / "kernel"));
}

TEST_F(KernelProcess, ImageAndConfigurationMayLieBesideTheModules) {
  const auto modules = scratch_ / "tree/usr/lib/modules/7.3-split";
  write(modules / "vmlinuz", "image");
  write(modules / "config", "CONFIG_VIRTIO_FS=y\n");
  write(modules / "modules.builtin", "kernel/fs/fuse/virtiofs.ko\n");
  write(modules / "modules.order", "");
  const auto made = kernel_from_tree(scratch_ / "tree", scratch_ / "kernel");
  ASSERT_TRUE(made) << made.error().text;
  const auto kernel = open_kernel(scratch_ / "kernel");
  ASSERT_TRUE(kernel) << kernel.error().text;
  EXPECT_EQ(kernel->release, "7.3-split");
  EXPECT_EQ(read(kernel->vmlinuz()), "image");
  const auto listing = run_tool({"tar", "-tf", kernel->modules_tar().string()});
  ASSERT_TRUE(listing) << listing.error().text;
  EXPECT_NE(listing->find("boot/config-7.3-split\n"), std::string::npos) << *listing;
  EXPECT_EQ(listing->find("vmlinuz"), std::string::npos) << "a guest has no use for it:\n" << *listing;
}

TEST_F(KernelProcess, ATreeOfAnotherUsersIsReadByThatUser) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root becomes another user";
  constexpr unsigned kUser = 61'234;
  // What lies above the tree lets nobody but root pass.
  std::filesystem::permissions(scratch_, std::filesystem::perms::owner_all);
  const auto image = scratch_ / "image";
  write(image / "kernel/fs/virtiofs.ko", "no module");
  write(image / "modules.builtin", "kernel/fs/fuse/virtiofs.ko\n");
  write(image / "modules.order", "");
  std::filesystem::permissions(image / "kernel/fs/virtiofs.ko", std::filesystem::perms::none);
  write(scratch_ / "vmlinuz", "image");
  write(scratch_ / "config", "CONFIG_VIRTIO_FS=y\n");
  std::filesystem::permissions(scratch_ / "config", std::filesystem::perms::owner_read);
  const auto tree = scratch_ / "tree";
  std::filesystem::create_directories(tree / "usr/lib/modules");
  std::filesystem::create_directories(tree / "boot");
  const InterruptScope interrupts;
  ASSERT_TRUE(copy_kernel_tree(image, tree / "usr/lib/modules/6.1", {}, kUser));
  ASSERT_TRUE(copy_kernel_file(scratch_ / "vmlinuz", tree / "boot/vmlinuz-6.1"));
  ASSERT_TRUE(copy_kernel_file(scratch_ / "config", tree / "boot/config-6.1"));
  const auto made = kernel_from_tree(tree, scratch_ / "kernel", kUser);
  ASSERT_TRUE(made) << made.error().text;
  struct stat dep{};
  ASSERT_EQ(::stat((tree / "usr/lib/modules/6.1/modules.dep").c_str(), &dep), 0);
  EXPECT_EQ(dep.st_uid, kUser) << "depmod was run as somebody else";
  for (const auto& file : std::filesystem::directory_iterator(scratch_ / "kernel")) {
    struct stat st{};
    ASSERT_EQ(::stat(file.path().c_str(), &st), 0);
    EXPECT_EQ(st.st_uid, 0U) << file.path();
  }
  const auto listing =
      run_tool({"tar", "--numeric-owner", "-tvf", (scratch_ / "kernel/modules.tar").string()});
  ASSERT_TRUE(listing) << listing.error().text;
  EXPECT_NE(listing->find("usr/lib/modules/6.1/kernel/fs/virtiofs.ko\n"), std::string::npos) << *listing;
  EXPECT_NE(listing->find("boot/config-6.1\n"), std::string::npos) << *listing;
  EXPECT_EQ(listing->find("61234"), std::string::npos) << *listing;
}

TEST_F(KernelProcess, ATreeWithoutModulesIsRefused) {
  write(scratch_ / "tree/boot/vmlinuz", "image");
  EXPECT_FALSE(kernel_from_tree(scratch_ / "tree", scratch_ / "kernel"));
}

}  // namespace
}  // namespace layerboot::launcher
