#include "launcher/vm_layer.h"

#include "launcher/tar_writer.h"
#include "oci-mount/base/bytes.h"
#include "oci-mount/base/files.h"

namespace layerboot::launcher {

namespace {

constexpr std::size_t kMaxLayerBytes = std::size_t{4} << 20;

// The resolver of QEMU's user network (-netdev user,dns=).
constexpr std::string_view kUserNetResolver = "nameserver 10.0.2.3\n";

// By name, not by Type=ether: that would also take the bridges and veth pairs of a container engine in the
// VM.
constexpr std::string_view kNetworkUnit =
    "[Match]\n"
    "Name=en* eth*\n"
    "\n"
    "[Network]\n"
    "DHCP=yes\n";

std::string hosts_file(std::string_view hostname) {
  return str_cat(
      "127.0.0.1 localhost\n127.0.1.1 ", hostname,
      "\n::1 localhost ip6-localhost ip6-loopback\nff02::1 ip6-allnodes\nff02::2 ip6-allrouters\n");
}

}  // namespace

Result<std::string> vm_layer_tar(const VmConfig& config) {
  const std::string hostname = hostname_for(config.name);
  TarWriter tar;
  LB_TRY(tar.add_file(".wh..dockerenv", ""));
  LB_TRY(tar.add_file("etc/hostname", hostname + "\n"));
  LB_TRY(tar.add_file("etc/hosts", hosts_file(hostname)));
  LB_TRY(tar.add_file("etc/machine-id", config.machine_id + "\n", 0444));
  if (config.net == Net::kUser) {
    LB_TRY(tar.add_file("etc/resolv.conf", kUserNetResolver));
    LB_TRY(tar.add_file("etc/systemd/network/80-layerboot.network", kNetworkUnit));
  }
  LB_TRY(tar.add_file("run/.wh..containerenv", ""));
  return tar.finish();
}

Result<void> write_vm_layer(const VmConfig& config, const std::filesystem::path& path) {
  LB_ASSIGN(const std::string tar, vm_layer_tar(config));
  if (const auto present = read_file(path, kMaxLayerBytes); present && *present == tar) return {};
  LB_ASSIGN(auto file, AtomicFile::create(path, 0600));
  LB_TRY(file.append(as_bytes(tar)));
  return file.commit();
}

}  // namespace layerboot::launcher
