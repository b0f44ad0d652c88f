// Root file systems as Arch and Fedora lay them out: who is the first process, and what the VM layer makes of
// them. A machine boots one like them in tests/vm/systems (odd).
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <memory>
#include <thread>

#include "guest-init/init_choice.h"
#include "guest-init/network_choice.h"
#include "launcher/host/run_tool.h"
#include "launcher/vm/vm_layer.h"
#include "oci-mount/base/unique_fd.h"
#include "oci-mount/vfs/image_source.h"
#include "tests/support/image_builder.h"
#include "tests/support/tar_builder.h"
#include "tests/support/temp_dir.h"

namespace layerboot::launcher {
namespace {

using guest_init::choose_kind;
using guest_init::GuestKind;
using guest_init::RunChoice;
using test::TarBuilder;

constexpr const char* kLabelName = "security.selinux";
constexpr const char* kMachineId = "0123456789abcdef0123456789abcdef";

/// A root of one layer, as a directory to choose an init in, and as an image with a VM layer on top.
class RootStyle : public testing::Test {
 protected:
  void make(const TarBuilder& tar) {
    test::ImageBuilder builder(scratch_.path() / "image");
    builder.add_gzip_layer(tar.finish());
    builder.write();
    root_ = std::filesystem::canonical(scratch_.path()) / "root";
    std::filesystem::create_directory(root_);
    test::write_text(scratch_.path() / "root.tar", tar.finish());
    const auto unpacked = run_tool(
        {"tar", "--no-same-owner", "-C", root_.string(), "-xf", (scratch_.path() / "root.tar").string()});
    ASSERT_TRUE(unpacked) << unpacked.error().describe();
    open_with_vm_layer();
  }

  void open_with_vm_layer() {
    VmConfig config;
    config.name = "vm";
    config.machine_id = kMachineId;
    const auto vm_layer = scratch_.path() / "vm-layer.tar";
    ASSERT_TRUE(write_vm_layer(config, vm_layer));
    // As kernel/DESIGN.md has it: without entries for the parents.
    const auto modules = scratch_.path() / "modules.tar";
    test::write_text(modules, TarBuilder().file("usr/lib/modules/6.1/modules.dep", "").finish());
    vfs::ImageSourceOptions options;
    options.index_dir = scratch_.path() / "index";
    options.add_layers = {modules, vm_layer};
    options.show_progress = false;
    auto opened = vfs::open_image_source("oci:" + (scratch_.path() / "image").string(), options);
    ASSERT_TRUE(opened) << opened.error().describe();
    source_ = std::move(*opened);
  }

  /// Follows no links; kNoNode where nothing is.
  tree::NodeId find(std::string_view path) const {
    tree::NodeId node = tree::kRoot;
    while (!path.empty() && node != tree::kNoNode) {
      const std::string_view name = path.substr(0, path.find('/'));
      path.remove_prefix(std::min(path.size(), name.size() + 1));
      node = source_->tree->lookup(node, name);
    }
    return node;
  }
  std::string link_target(std::string_view path) const {
    const auto node = find(path);
    if (node == tree::kNoNode || !S_ISLNK(source_->tree->node(node).mode)) return "no link";
    return std::string(source_->tree->symlink_target(node));
  }
  std::string label(std::string_view path) const {
    const auto node = find(path);
    return node == tree::kNoNode ? "nothing there"
                                 : std::string(source_->tree->xattr(node, kLabelName).value_or("none"));
  }
  std::string program(std::string_view path) const {
    const std::string found = guest_init::resolve_program(root_.string(), path);
    return found.empty() ? found : found.substr(root_.string().size());
  }
  bool has_message_bus() const {
    const UniqueFd root(::open(root_.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    return guest_init::has_message_bus(root.get());
  }
  guest_init::NetworkOwner network_owner() const {
    const UniqueFd root(::open(root_.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    return guest_init::choose_network(root.get(), true, true).owner;
  }
  /// The machine-id is the VM's own, for all to read and nobody to write.
  void expect_our_machine_id() const {
    const auto node = find("etc/machine-id");
    ASSERT_NE(node, tree::kNoNode);
    EXPECT_EQ(source_->tree->node(node).mode, S_IFREG | 0444U);
    EXPECT_EQ(source_->tree->node(node).size_bytes, std::string_view(kMachineId).size() + 1);
  }

  const test::TempDir scratch_;
  std::filesystem::path root_;
  std::unique_ptr<vfs::ImageSource> source_;
};

/// Everything is in /usr/bin and /usr/lib; there is no /etc/machine-id, and no /sbin/init but by
/// systemd-sysvcompat.
TarBuilder arch_root(bool with_sysvcompat) {
  TarBuilder tar;
  tar.directory("etc").directory("usr").directory("usr/bin").directory("usr/lib").directory(
      "usr/lib/systemd");
  tar.symlink("bin", "usr/bin")
      .symlink("sbin", "usr/bin")
      .symlink("lib", "usr/lib")
      .symlink("lib64", "usr/lib");
  tar.symlink("usr/sbin", "bin").symlink("usr/lib64", "lib");
  tar.file("usr/bin/bash", "x", 0755).file("usr/lib/systemd/systemd", "x", 0755);
  tar.file("usr/lib/systemd/systemd-networkd", "x", 0755).file("usr/bin/dbus-daemon", "x", 0755);
  if (with_sysvcompat) tar.symlink("usr/bin/init", "../lib/systemd/systemd");
  return tar;
}

TEST_F(RootStyle, ArchBootsItsSystemd) {
  make(arch_root(true));
  const std::string root = root_.string();
  EXPECT_EQ(guest_init::find_init(root), "/sbin/init");
  EXPECT_EQ(program("/sbin/init"), "/usr/lib/systemd/systemd");
  EXPECT_TRUE(guest_init::is_systemd(root, "/sbin/init"));
  EXPECT_EQ(choose_kind(RunChoice::kAuto, {"/usr/bin/bash"}, true, true), GuestKind::kInit);
  EXPECT_EQ(network_owner(), guest_init::NetworkOwner::kNetworkd)
      << "which brings up the network by the VM layer's unit";
  EXPECT_TRUE(has_message_bus());
}

TEST_F(RootStyle, ArchWithoutSysvcompatRunsItsCommand) {
  make(arch_root(false));
  const std::string root = root_.string();
  EXPECT_EQ(guest_init::find_init(root), "/lib/systemd/systemd")
      << "for --boot init, and an image without a command";
  EXPECT_TRUE(guest_init::is_systemd(root, "/lib/systemd/systemd"));
  const bool systemd = guest_init::is_systemd(root, guest_init::kInitPaths[0]);
  EXPECT_FALSE(systemd) << "a systemd that is nobody's init came as a dependency";
  EXPECT_EQ(choose_kind(RunChoice::kAuto, {"/usr/bin/bash"}, systemd, true), GuestKind::kCommand);
  EXPECT_EQ(choose_kind(RunChoice::kAuto, {}, systemd, true), GuestKind::kInit);
}

TEST_F(RootStyle, ArchKeepsItsLinksBelowTheVmsLayers) {
  make(arch_root(true));
  for (const auto& [path, target] :
       {std::pair("bin", "usr/bin"), std::pair("sbin", "usr/bin"), std::pair("lib", "usr/lib"),
        std::pair("lib64", "usr/lib"), std::pair("usr/sbin", "bin")}) {
    EXPECT_EQ(link_target(path), target) << path;
  }
  EXPECT_NE(find("usr/lib/modules/6.1/modules.dep"), tree::kNoNode) << "where /lib leads, too";
  EXPECT_NE(find("usr/lib/systemd/systemd"), tree::kNoNode) << "beside the modules";
  EXPECT_NE(find("etc/systemd/network/80-layerboot.network"), tree::kNoNode);
  expect_our_machine_id();
}

void add_labelled(TarBuilder& tar, const char* name, const std::string& content, std::uint64_t mode,
                  const char* label) {
  test::TarMember member;
  member.name = name;
  member.content = content;
  member.mode = mode;
  member.pax = {{std::string("SCHILY.xattr.") + kLabelName, label}};
  tar.add(std::move(member));
}

constexpr const char* kEtcLabel = "system_u:object_r:etc_t:s0";
constexpr const char* kInitLabel = "system_u:object_r:init_exec_t:s0";

/// /usr/sbin is /usr/bin, the bus is dbus-broker, networkd is a package of its own; SELinux labels in the
/// layer.
TarBuilder fedora_root(const std::string& machine_id) {
  TarBuilder tar;
  tar.directory("etc").directory("etc/systemd").directory("etc/systemd/system");
  tar.directory("usr")
      .directory("usr/bin")
      .directory("usr/lib")
      .directory("usr/lib64")
      .directory("usr/lib/systemd");
  tar.directory("usr/lib/systemd/system");
  tar.symlink("bin", "usr/bin").symlink("sbin", "usr/sbin").symlink("usr/sbin", "bin");
  tar.symlink("lib", "usr/lib").symlink("lib64", "usr/lib64");
  tar.file("usr/bin/bash", "x", 0755)
      .file("usr/bin/dbus-broker", "x", 0755)
      .file("usr/bin/dbus-broker-launch", "x", 0755);
  add_labelled(tar, "usr/lib/systemd/systemd", "x", 0755, kInitLabel);
  tar.symlink("usr/bin/init", "../lib/systemd/systemd");
  tar.file("usr/lib/systemd/system/dbus-broker.service", "[Service]\n");
  tar.symlink("etc/systemd/system/dbus.service", "/usr/lib/systemd/system/dbus-broker.service");
  add_labelled(tar, "etc/passwd", "root:x:0:0::/root:/bin/bash\n", 0644, kEtcLabel);
  add_labelled(tar, "etc/hostname", "fedora\n", 0644, kEtcLabel);
  add_labelled(tar, "etc/machine-id", machine_id, 0444, kEtcLabel);
  return tar;
}

// Linux gives up on ".." in a path below a root (EAGAIN) where anything is renamed meanwhile, anywhere.
TEST_F(RootStyle, AnInitBehindALinkIsFoundWhateverIsRenamedMeanwhile) {
  make(fedora_root(""));
  const std::string root = root_.string();
  std::atomic<bool> over = false;
  std::thread renamer([&] {
    const test::TempDir elsewhere;
    std::filesystem::create_directory(elsewhere / "a");
    while (!over) {
      std::filesystem::rename(elsewhere / "a", elsewhere / "b");
      std::filesystem::rename(elsewhere / "b", elsewhere / "a");
    }
  });
  int missed = 0;
  for (int i = 0; i < 2000; ++i) missed += guest_init::find_init(root) == "/sbin/init" ? 0 : 1;
  over = true;
  renamer.join();
  EXPECT_EQ(missed, 0);
}

TEST_F(RootStyle, FedoraBootsItsSystemdAndGetsItsNetworkFromTheInitrd) {
  make(fedora_root(""));
  const std::string root = root_.string();
  EXPECT_EQ(guest_init::find_init(root), "/sbin/init");
  EXPECT_EQ(program("/sbin/init"), "/usr/lib/systemd/systemd");
  const bool systemd = guest_init::is_systemd(root, guest_init::kInitPaths[0]);
  EXPECT_TRUE(systemd);
  EXPECT_EQ(choose_kind(RunChoice::kAuto, {"/bin/bash"}, systemd, true), GuestKind::kInit);
  EXPECT_EQ(network_owner(), guest_init::NetworkOwner::kUs) << "so guest-init brings up the network";
  EXPECT_TRUE(has_message_bus()) << "dbus-broker is one: logind hears the power button";
}

TEST_F(RootStyle, AnEmptyMachineIdGivesWayToTheVms) {
  make(fedora_root(""));
  expect_our_machine_id();
}

TEST_F(RootStyle, AnUninitializedMachineIdGivesWayToo) {
  make(fedora_root("uninitialized\n"));
  expect_our_machine_id();
}

TEST_F(RootStyle, FedorasLabelsStayWithItsOwnFilesAlone) {
  make(fedora_root(""));
  EXPECT_EQ(label("etc/passwd"), kEtcLabel);
  EXPECT_EQ(label("usr/lib/systemd/systemd"), kInitLabel);
  // A label says what a policy knows of a file's content; it knows nothing of these.
  EXPECT_EQ(label("etc/machine-id"), "none");
  EXPECT_EQ(label("etc/hostname"), "none");
  EXPECT_EQ(link_target("etc/systemd/system/dbus.service"), "/usr/lib/systemd/system/dbus-broker.service");
  EXPECT_EQ(link_target("usr/sbin"), "bin");
}

}  // namespace
}  // namespace layerboot::launcher
