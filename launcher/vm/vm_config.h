// VmConfig: what one virtual machine is, and its form on disk.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

#include "guest-init/workload.h"
#include "launcher/vm/run_settings.h"
#include "oci-mount/base/result.h"

namespace layerboot::launcher {

enum class Accel { kKvm, kTcg };
enum class Machine { kQ35, kMicrovm };

inline constexpr std::uint64_t kDefaultQuotaBytes = std::uint64_t{4} << 30;
/// Less is a mistyped size: an ext4 of a VM's own, or the first log of a guest, takes more.
inline constexpr std::uint64_t kMinQuotaBytes = std::uint64_t{1} << 20;
inline constexpr unsigned kMaxCpus = 255;
inline constexpr std::uint64_t kMinMemoryBytes = std::uint64_t{64} << 20;

/// The virtiofs tag of a VM's volume, by its place in the list.
std::string volume_tag(std::size_t number);

/// Everything the pure parts (QEMU's and vfsd's arguments, the VM layer) are made from.
struct VmConfig : RunSettings {
  std::string name;
  std::string image;  // as the person wrote it; empty on a daemon that is not ours
  std::uint64_t quota_bytes = kDefaultQuotaBytes;
  std::string
      machine_id;  // 32 hexadecimal digits, made once per VM; empty: the guest makes one at its first boot
  std::string kernel_release;
  std::filesystem::path vmlinuz;
  std::filesystem::path initrd;          // may be empty
  std::filesystem::path root_disk;       // a qcow2, with disk_root
  std::filesystem::path root_disk_base;  // raw, below a qcow2, which is not asked for it
  std::filesystem::path modules_disk;    // raw, with disk_root; may be empty
  std::filesystem::path upper_disk;      // raw, with UpperKind::kDisk
  std::filesystem::path swap_disk;       // raw, with swap_bytes; made before QEMU starts
  guest_init::ImageWorkload workload;    // what the image says to run
  std::string tcg_append;                // kernel arguments this kernel needs under TCG
  std::uint64_t tsc_khz = 0;             // of the host it will run on, under TCG; 0: not known
  Accel accel = Accel::kTcg;
  unsigned qemu_major = 0;          // of the QEMU it will run on; 0: not known
  unsigned qemu_uid = 0;            // whom QEMU becomes, user and group; 0: it stays who we are
  std::filesystem::path qemu_root;  // and what it then sees of the host; empty: what we see
  Machine machine = Machine::kQ35;
  bool shell_once = false;      // a shell that --append asks for is all that is wanted
  bool timing = false;          // the guest is to say how far it is
  unsigned request_queues = 1;  // what QEMU asks of the daemon
  bool quiet = false;
  bool debug = false;
};

/// What the guest may write to its root, at most: of a tmpfs no more than half of its memory.
[[nodiscard]] std::uint64_t upper_cap_bytes(const RunSettings& settings, std::uint64_t quota_bytes);

/// What of a VM outlives one run, as config.json keeps it.
struct VmRecord {
  std::string name;
  std::string image;
  std::uint64_t quota_bytes = kDefaultQuotaBytes;
  std::string machine_id;
  RunSettings run;  // of the last run
  /// An earlier run's --password is, as a hash, in what the VM has written.
  bool has_given_password = false;

  [[nodiscard]] bool has_password_written() const {
    return has_given_password || !run.root_password_hash.empty();
  }
  /// The identity of the image below what the VM had written (Image::chain_id) before it went on from
  /// `image`, which has that in it: it is to be thrown away. Empty: nothing is.
  std::string spent_upper = {};

  bool operator==(const VmRecord&) const = default;
};

std::string record_to_json(const VmRecord& record);
/// EINVAL with what is wrong; unknown members are ignored, so that an older program reads a newer file.
Result<VmRecord> record_from_json(std::string_view text);

/// `image` as it means the same from any working directory.
std::string absolute_reference(std::string_view image);

/// A VM's name made from an image reference: `oci:/images/debian:12` gives `debian-12`. Always valid.
std::string name_from_image(std::string_view image);

inline constexpr std::size_t kMaxNameLength = 63;

/// A name is a directory, a socket's folder and a host name: letters, digits, '-', '_' and '.', at most
/// kMaxNameLength, starting with a letter or digit.
Result<void> check_name(std::string_view name);

/// A host name as engines take it: labels of letters, digits and '-', which is neither first nor last, at
/// most 63 bytes each and 253 in all, with dots between them.
Result<void> check_hostname(std::string_view hostname);

/// What of it the kernel can hold (64 bytes): all, or its first label. The whole is in /etc/hosts.
std::string kernel_hostname(std::string_view hostname);

/// `name` with what a host name may not hold replaced by '-'.
std::string hostname_for(std::string_view name);

/// The address of a VM's network card, its own and the same at each start: out of its machine-id, in the
/// range that QEMU and libvirt give their machines; the further cards' are those behind it.
std::string mac_address(std::string_view machine_id, std::size_t card = 0);

/// 128 random bits as 32 hexadecimal digits.
Result<std::string> make_machine_id();

}  // namespace layerboot::launcher
