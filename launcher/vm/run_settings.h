// RunSettings: what a person asks of a VM's run, kept with the VM so that `start` repeats it.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "launcher/host/architecture.h"
#include "oci-mount/base/result.h"
#include "oci-mount/store/platform.h"

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

/// Whether a VM that has ended is started again by its launcher, for as long as that lives.
enum class RestartPolicy {
  kNo,
  kOnFailure,  // when it ended otherwise than by its power-off, or its command not with 0
  kAlways,     // unless somebody asked for the end
};

inline constexpr std::uint64_t kDefaultMemoryBytes = std::uint64_t{1} << 30;
/// A share is a PCI device and a daemon of its own.
inline constexpr std::size_t kMaxVolumes = 8;
inline constexpr std::uint64_t kMinSwapBytes = std::uint64_t{1} << 20;
/// Of each page the guest's kernel keeps a byte or two in memory, used or not.
inline constexpr std::uint64_t kMaxSwapBytes = std::uint64_t{256} << 30;
inline constexpr std::size_t kMaxTmpfs = 64;
inline constexpr std::size_t kMaxPublished = 64;
inline constexpr std::size_t kMaxSharedSockets = 16;

enum class VolumeKind {
  kReadOnly,
  kShared,   // what the guest writes is in the host's directory
  kOverlay,  // what the guest writes stays with the VM
};

/// A directory of the host in the guest: in place, or, as an overlay, as it is when the VM starts.
struct Volume {
  std::string host;   // absolute; empty until the run where `name` says which
  std::string guest;  // absolute, without "." and ".." and the end's '/'
  VolumeKind kind = VolumeKind::kShared;
  std::uint64_t quota_bytes = 0;  // of an overlay; 0: the default
  std::string id_map = {};        // of a directory in place, for parse_id_map(); empty: none
  std::string name = {};          // of a volume that is kept by us (named_volumes.h); empty: a directory

  bool operator==(const Volume&) const = default;
};

/// Memory of the guest's as a directory.
struct TmpfsMount {
  std::string guest;    // as a Volume's
  std::string options;  // mount(8)'s, with commas between them; empty: Docker's

  bool operator==(const TmpfsMount&) const = default;
};

/// One more line of the guest's /etc/hosts.
struct HostEntry {
  std::string name;
  std::string address;

  bool operator==(const HostEntry&) const = default;
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
  std::uint16_t host = 0;             // with `random` the one of the last run; 0: none yet
  std::uint16_t guest = 0;
  bool udp = false;
  bool random = false;  // the host's port is any that is free when the VM starts

  bool operator==(const PublishedPort&) const = default;
};

/// A network card behind the first one.
struct NetCard {
  Net kind = Net::kUser;  // or kTap
  std::string tap;        // the interface's name, with Net::kTap

  bool operator==(const NetCard&) const = default;
};

/// The network of a VM's cards, one more each: 10.0.2.0/24 the first user network, 10.0.3.0/24 what is behind
/// it, and so on.
inline constexpr std::size_t kMaxNetCards = 8;

struct RunSettings {
  unsigned cpus = 1;
  std::uint64_t memory_bytes = kDefaultMemoryBytes;
  std::string kernel = "debian";
  std::string platform;             // whose programs the image holds, "linux/arm64"; empty: this machine's
  std::vector<std::string> binfmt;  // other architectures whose programs the guest runs, by emulation
  std::string append;
  AccelChoice accel_choice = AccelChoice::kAuto;
  bool require_kvm = false;
  MachineChoice machine_choice = MachineChoice::kAuto;
  Net net = Net::kUser;
  std::string tap;                 // the interface's name, with Net::kTap
  std::vector<NetCard> more_nets;  // the further cards; none with Net::kNone
  std::string hostname;            // empty: from the VM's name
  Boot boot = Boot::kAuto;
  bool cgroup_v1 = false;
  std::optional<std::vector<std::string>> entrypoint;  // instead of the image's
  std::vector<std::string> environment;                // NAME=VALUE, for the image's command
  std::string user;                                    // for the image's command; empty: the image's
  std::string workdir;                                 // for the image's command; empty: the image's
  std::vector<std::string> guest_command;              // empty: the image's
  std::vector<std::string> ssh_keys;                   // public keys, a line each
  std::vector<Volume> volumes;
  std::vector<TmpfsMount> tmpfs;
  std::vector<PublishedPort> published;
  bool publish_all = false;         // what the image exposes, at random ports
  std::vector<HostEntry> hosts;     // further names that the guest knows
  std::vector<std::string> dns;     // the guest's resolvers; empty: its network's
  std::vector<std::string> labels;  // NAME=VALUE, for lists; the guest does not see them
  bool disk_root = false;           // the root is a disk made of the image, not virtiofs
  std::vector<SharedSocket> sockets;
  DiskFormat disk_format = DiskFormat::kQcow2;
  bool no_initrd = false;  // the kernel mounts the root by itself
  RestartPolicy restart = RestartPolicy::kNo;
  unsigned restart_limit = 0;      // of kOnFailure, in a row; 0: none
  bool remove_at_end = false;      // the VM goes with the run
  std::string root_password_hash;  // as shadow(5) has it; empty: the image's
  bool autologin = false;          // root, at the console
  bool docker = false;             // the image has a Docker engine, which is used from here
  bool ephemeral = false;          // what the guest writes ends with the run
  bool writeback = false;          // the guest keeps what it writes to the root for a while
  UpperKind upper = UpperKind::kHost;
  std::uint64_t swap_bytes = 0;  // of a disk that the guest swaps to, as long as the run; 0: none

  bool operator==(const RunSettings&) const = default;
};

/// Which of an image for several is meant.
[[nodiscard]] store::Platform image_platform(const RunSettings& settings);

/// The machine that runs it.
[[nodiscard]] const Architecture& architecture_of(const RunSettings& settings);

/// "host", "disk" or "ram".
[[nodiscard]] const char* upper_word(UpperKind kind);

/// EINVAL where the kind of upper does not go with the other settings.
Result<void> check_upper(const RunSettings& settings);

/// ssh_keys as sshd reads them: a line each, every line ended. Empty without any.
[[nodiscard]] std::string authorized_keys(const RunSettings& settings);

/// A path in the guest that something may be mounted at, without "//" and the end's '/'. EINVAL for one that
/// can't be, or that the guest's system mounts something at itself.
Result<std::string> parse_mount_point(std::string_view text);

/// `HOST:GUEST[:rw|:ro|:overlay][,quota=SIZE][,idmap=IDS]`. A relative HOST is relative to the working
/// directory and begins with a '.'; a word without '/' names a volume. EINVAL with what is wrong.
Result<Volume> parse_volume(std::string_view text);

/// Docker's `PATH[:OPTIONS]`. Nothing for a path that is a tmpfs in every guest.
Result<std::optional<TmpfsMount>> parse_tmpfs(std::string_view text);

/// Docker's `type=bind|volume|tmpfs,source=…,target=…[,readonly]`, into `volumes` or `tmpfs`.
Result<void> parse_mount(std::string_view text, RunSettings& settings);

/// Docker's `NAME:ADDRESS`; `host-gateway` is this machine, as the guest sees it.
Result<HostEntry> parse_host_entry(std::string_view text);

/// An IPv4 or IPv6 address.
[[nodiscard]] bool is_address(std::string_view text);

/// `HOST:GUEST`, where HOST is a path and GUEST an absolute path or a port. A relative HOST is relative to
/// the working directory.
Result<SharedSocket> parse_shared_socket(std::string_view text);

/// `[[ADDRESS:][HOST]:]GUEST[/tcp|/udp]`, where HOST and GUEST may be ranges of the same length, such as
/// 8000-8009; without HOST any free port.
Result<std::vector<PublishedPort>> parse_published(std::string_view text);

inline constexpr std::string_view kAllAddresses = "0.0.0.0";

/// Whether only one of the two can be listened at, though they may lead to different ports of the guest.
[[nodiscard]] bool ports_collide(const PublishedPort& one, const PublishedPort& other);

/// EINVAL where two of them want the same port of this host. Those at random differ.
Result<void> check_ports_differ(const std::vector<PublishedPort>& ports);

/// `80/tcp`, in the guest.
[[nodiscard]] std::string port_text(const PublishedPort& port);

/// What an image exposes, `80` or `53/udp`, at random ports: but what is published already. What can't be
/// forwarded, such as sctp, is left out with a warning. E2BIG where there is more than kMaxPublished.
Result<void> publish_exposed(const std::vector<std::string>& exposed, RunSettings& settings);

/// The same at ports of the same number, as many as there is room for beside what is published already; the
/// others are left out with a warning, as are those whose number leads elsewhere.
void publish_exposed_in_place(const std::vector<std::string>& exposed, RunSettings& settings);

/// `user`, `passt`, `none` or `tap=INTERFACE`, into `net` and `tap`. The error says what Docker's words are
/// here.
Result<void> parse_net(std::string_view text, RunSettings& settings);

/// The same of all cards: the first one has the published ports and the default route, and any kind; those
/// behind it are `user` or `tap=INTERFACE`.
Result<void> parse_nets(const std::vector<std::string>& texts, RunSettings& settings);

/// `no`, `always`, `on-failure[:MOST]` or Docker's `unless-stopped`, into `restart` and `restart_limit`.
Result<void> parse_restart(std::string_view text, RunSettings& settings);

nlohmann::json settings_to_json(const RunSettings& settings);

/// EINVAL names the option that has text which is not UTF-8: settings_to_json() can't keep it, and a VM would
/// be started again with something else.
Result<void> check_can_be_kept(const RunSettings& settings);

/// The option of `run` that a member of settings_to_json() is about: "hosts" gives "--add-host".
[[nodiscard]] std::string option_of_member(std::string_view member);

/// By their options, what `settings` say otherwise than a run without any, but for the members `known`: what
/// somebody who hands a VM on elsewhere has to speak of.
[[nodiscard]] std::vector<std::string> settings_beside(const RunSettings& settings,
                                                       std::span<const std::string_view> known);
/// Members that are missing keep their defaults. EINVAL names the one that is wrong.
Result<RunSettings> settings_from_json(const nlohmann::json& object);

}  // namespace layerboot::launcher
