// RunSettings: what a person asks of a VM's run, kept with the VM so that `start` repeats it.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "oci-mount/base/result.h"

namespace layerboot::launcher {

enum class AccelChoice { kAuto, kKvm, kTcg };
enum class MachineChoice { kAuto, kQ35, kMicrovm };
/// Who is the guest's first process.
enum class Boot {
  kAuto,     // as the image says, or the command that was given
  kInit,     // the image's init
  kCommand,  // ours, which runs the image's command or the one that was given
};
enum class Net { kUser, kPasst, kTap, kNone };

enum class DiskFormat { kRaw, kQcow2 };

/// Where what the guest writes to its root is kept.
enum class UpperKind {
  kHost,  // by vfsd, as files on the host
  kDisk,  // on an ext4 of the guest's own, below an overlayfs of its own
  kRam,   // the same on a tmpfs
};

inline constexpr std::uint64_t kDefaultMemoryBytes = std::uint64_t{1} << 30;
/// A share is a PCI device and a daemon of its own.
inline constexpr std::size_t kMaxVolumes = 8;
inline constexpr std::size_t kMaxPublished = 64;
inline constexpr std::size_t kMaxSharedSockets = 16;

enum class VolumeKind {
  kReadOnly,
  kShared,   // what the guest writes is in the host's directory
  kOverlay,  // what the guest writes stays with the VM
};

/// A directory of the host in the guest: in place, or, as an overlay, as it is when the VM starts.
struct Volume {
  std::string host;   // absolute
  std::string guest;  // absolute, without "." and ".." and the end's '/'
  VolumeKind kind = VolumeKind::kShared;
  std::uint64_t quota_bytes = 0;  // of an overlay; 0: the default
  std::string id_map = {};        // of a directory in place, for parse_id_map(); empty: none

  bool operator==(const Volume&) const = default;
};

/// A Unix socket of the host that leads to one of the guest, or to a TCP port of it.
struct SharedSocket {
  std::string host;   // absolute
  std::string guest;  // "/path" or a port's number

  bool operator==(const SharedSocket&) const = default;
};

/// A port of the host that leads to one of the guest.
struct PublishedPort {
  std::string address = "127.0.0.1";  // of the host, IPv4
  std::uint16_t host = 0;
  std::uint16_t guest = 0;
  bool udp = false;

  bool operator==(const PublishedPort&) const = default;
};

struct RunSettings {
  unsigned cpus = 1;
  std::uint64_t memory_bytes = kDefaultMemoryBytes;
  std::string kernel = "debian";
  std::string append;
  AccelChoice accel_choice = AccelChoice::kAuto;
  bool require_kvm = false;
  MachineChoice machine_choice = MachineChoice::kAuto;
  Net net = Net::kUser;
  std::string tap;       // the interface's name, with Net::kTap
  std::string hostname;  // empty: from the VM's name
  Boot boot = Boot::kAuto;
  bool cgroup_v1 = false;
  std::optional<std::vector<std::string>> entrypoint;  // instead of the image's
  std::vector<std::string> environment;                // NAME=VALUE, for the image's command
  std::string user;                                    // for the image's command; empty: the image's
  std::string workdir;                                 // for the image's command; empty: the image's
  std::vector<std::string> guest_command;              // empty: the image's
  std::vector<std::string> ssh_keys;                   // public keys, a line each
  std::vector<Volume> volumes;
  std::vector<PublishedPort> published;
  bool disk_root = false;  // the root is a disk made of the image, not virtiofs
  std::vector<SharedSocket> sockets;
  DiskFormat disk_format = DiskFormat::kQcow2;
  bool no_initrd = false;  // the kernel mounts the root by itself
  bool ephemeral = false;  // what the guest writes ends with the run
  bool writeback = false;  // the guest keeps what it writes to the root for a while
  UpperKind upper = UpperKind::kHost;

  bool operator==(const RunSettings&) const = default;
};

/// "host", "disk" or "ram".
[[nodiscard]] const char* upper_word(UpperKind kind);

/// EINVAL where the kind of upper does not go with the other settings.
Result<void> check_upper(const RunSettings& settings);

/// ssh_keys as sshd reads them: a line each, every line ended. Empty without any.
[[nodiscard]] std::string authorized_keys(const RunSettings& settings);

/// `HOST:GUEST[:rw|:ro|:overlay][,quota=SIZE][,idmap=IDS]`. A relative HOST is relative to the working
/// directory. EINVAL with what is wrong.
Result<Volume> parse_volume(std::string_view text);

/// `HOST:GUEST`, where HOST is a path and GUEST an absolute path or a port. A relative HOST is relative to
/// the working directory.
Result<SharedSocket> parse_shared_socket(std::string_view text);

/// `[ADDRESS:]HOST:GUEST[/tcp|/udp]`.
Result<PublishedPort> parse_published(std::string_view text);

/// `user`, `passt`, `none` or `tap=INTERFACE`, into `net` and `tap`.
Result<void> parse_net(std::string_view text, RunSettings& settings);

nlohmann::json settings_to_json(const RunSettings& settings);
/// Members that are missing keep their defaults. EINVAL names the one that is wrong.
Result<RunSettings> settings_from_json(const nlohmann::json& object);

}  // namespace layerboot::launcher
