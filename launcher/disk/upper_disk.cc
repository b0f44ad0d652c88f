#include "launcher/disk/upper_disk.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "launcher/disk/make_whole.h"
#include "launcher/host/held_user.h"
#include "launcher/host/run_tool.h"
#include "oci-mount/base/bytes.h"
#include "oci-mount/base/files.h"
#include "oci-mount/base/log.h"
#include "oci-mount/base/printable.h"
#include "oci-mount/base/size.h"
#include "oci-mount/store/image.h"

namespace layerboot::launcher {

namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMaxIdentityBytes = 256;
constexpr std::uint64_t kBlockBytes = 4096;

/// What the VM has written, if it has written anything that is kept.
std::optional<UpperKind> kept_kind(const VmPaths& paths) {
  std::error_code ignored;
  if (fs::exists(paths.upper_disk(), ignored)) return UpperKind::kDisk;
  if (fs::is_directory(paths.upper(), ignored) && !fs::is_empty(paths.upper(), ignored))
    return UpperKind::kHost;
  return std::nullopt;
}

bool has_root_disk(const VmPaths& paths) {
  std::error_code ignored;
  return fs::exists(paths.root_disk(DiskFormat::kQcow2), ignored) ||
         fs::exists(paths.root_disk(DiskFormat::kRaw), ignored);
}

Result<void> make_file_system(const fs::path& path, std::uint64_t size_bytes) {
  LB_ASSIGN(const UniqueFd file, open_path(path, O_WRONLY | O_CREAT | O_TRUNC, 0600));
  if (::ftruncate(file.get(), static_cast<off_t>(size_bytes)) != 0)
    return errno_error("cannot make ", path.string(), " of ", size_bytes, " bytes");
  // A hole reads as zeros: neither inode tables nor journal are written, now or by the guest later. The cap
  // is the disk's size, so nothing is held back for root.
  auto made = run_tool({"mkfs.ext4", "-q", "-F", "-b", str_cat(kBlockBytes), "-m", "0", "-L",
                        std::string(kUpperDiskLabel), "-E",
                        "lazy_itable_init=0,lazy_journal_init=1,root_owner=0:0", path.string()});
  if (made) return {};
  if (made.error().code == ENOENT) return fail(ENOENT, "mkfs.ext4 is not installed: apt install e2fsprogs");
  return while_doing(made.error(), "cannot make the VM's disk");
}

Result<void> write_identity(const fs::path& path, std::string_view identity) {
  LB_ASSIGN(AtomicFile file, AtomicFile::create(path, 0600));
  LB_TRY(file.append(as_bytes(identity)));
  return file.commit();
}

}  // namespace

Result<UpperKind> choose_upper(const VmPaths& paths, const VmRecord& record, std::optional<UpperKind> wanted,
                               bool ephemeral) {
  const auto kept = kept_kind(paths);
  const UpperKind kind = wanted.value_or(kept.value_or(record.run.upper));
  if (ephemeral || !kept || *kept == kind) return kind;
  return fail(EINVAL, "VM ", record.name, " keeps what it has written by --upper ", upper_word(*kept),
              ": give that, 'layerboot reset ", record.name, "' to throw it away, or another --name");
}

bool has_written(const VmPaths& paths) { return kept_kind(paths) || has_root_disk(paths); }

Result<void> check_root_kind(const VmPaths& paths, const std::string& name, bool disk_root) {
  const bool has_disk = has_root_disk(paths);
  if (disk_root && !has_disk && kept_kind(paths)) {
    return fail(EINVAL, "VM ", name,
                " has its root on virtiofs: leave out --disk-image, or take another --name");
  }
  if (!disk_root && has_disk && !kept_kind(paths)) {
    return fail(EINVAL, "VM ", name, " has its root on a disk: give --disk-image, or take another --name");
  }
  return {};
}

namespace {

std::uint64_t size_of(const fs::path& file) {
  struct stat st{};
  return ::stat(file.c_str(), &st) == 0 ? static_cast<std::uint64_t>(st.st_size) : 0;
}

}  // namespace

std::uint64_t upper_disk_bytes(const VmPaths& paths) { return size_of(paths.upper_disk()); }

std::uint64_t live_upper_disk_bytes(const VmPaths& paths) {
  return std::max(upper_disk_bytes(paths), size_of(paths.ephemeral_upper_disk()));
}

Result<void> make_upper_disk(const fs::path& path, std::uint64_t size_bytes) {
  const std::uint64_t whole = (size_bytes + kBlockBytes - 1) / kBlockBytes * kBlockBytes;
  if (whole > kMaxUpperDiskBytes) return fail(EINVAL, "--upper disk: at most 16T, as ext4 has it");
  if (whole < kMinUpperDiskBytes)
    return fail(EINVAL, "--upper disk: at least ", kMinUpperDiskBytes / kMib, "M for its file system");
  LB_TRY(make_whole(path, [whole](const fs::path& part) { return make_file_system(part, whole); }));
  struct stat st{};
  if (::stat(path.c_str(), &st) != 0) return errno_error(path.string());
  const auto present = static_cast<std::uint64_t>(st.st_size);
  if (present > whole) {
    const std::string size = str_cat((present + kMib - 1) / kMib, 'M');
    return fail(EINVAL, "the VM's disk has ", size, " and can't shrink: give --disk ", size, " or more");
  }
  if (present < whole && ::truncate(path.c_str(), static_cast<off_t>(whole)) != 0)
    return errno_error("cannot make ", path.string(), " larger");
  return {};
}

Result<void> prepare_upper_disk(const VmDirectory& directory, std::string_view image_identity,
                                VmConfig& config) {
  const VmPaths& paths = directory.paths();
  if (config.ephemeral) {
    LB_TRY(make_directories(paths.ephemeral_upper(), 0700));
    config.upper_disk = paths.ephemeral_upper_disk();
    return make_upper_disk(config.upper_disk, config.quota_bytes);
  }
  config.upper_disk = paths.upper_disk();
  std::error_code ignored;
  if (fs::exists(config.upper_disk, ignored)) {
    LB_ASSIGN(const std::string identity, read_file(paths.upper_disk_image(), kMaxIdentityBytes));
    if (identity != image_identity) {
      return fail(EINVAL, "VM ", config.name, " was made of another image: 'layerboot reset ", config.name,
                  "' throws away what it has written, another --name starts another VM");
    }
  } else {
    LB_TRY(write_identity(paths.upper_disk_image(), image_identity));
  }
  return make_upper_disk(config.upper_disk, config.quota_bytes);
}

namespace {

/// A file that belongs to somebody else for a while, by whom it is opened anew.
class LentFile {
 public:
  static Result<LentFile> lend(UniqueFd file, unsigned user) {
    if (user != 0 && ::fchown(file.get(), user, user) != 0) return errno_error("cannot lend the VM's disk");
    return LentFile(std::move(file), user);
  }
  LentFile(LentFile&&) = default;
  LentFile& operator=(LentFile&&) = delete;
  ~LentFile() {
    if (!file_ || user_ == 0) return;
    // Whoever had it may have opened it to others.
    if (::fchown(file_.get(), ::geteuid(), ::getegid()) != 0 || ::fchmod(file_.get(), 0600) != 0)
      log_warn("the VM's disk stays user ", user_, "'s: ", Error{errno, {}}.describe());
  }
  [[nodiscard]] int fd() const { return file_.get(); }

 private:
  LentFile(UniqueFd file, unsigned user) : file_(std::move(file)), user_(user) {}

  UniqueFd file_;
  unsigned user_;
};

std::string with_name(std::string text, std::string_view name) {
  const std::string_view place = kToolInputPath;
  for (std::size_t at = 0; (at = text.find(place, at)) != std::string::npos; at += name.size())
    text.replace(at, place.size(), name);
  return printable_lines(text);
}

}  // namespace

Result<void> settle_upper_disk(const VmPaths& paths) {
  const fs::path path = paths.upper_disk();
  // The guest's root chooses every byte of it.
  FreeUser user;
  if (can_change_user()) {
    LB_ASSIGN(user, free_user(paths.runtime.parent_path(), path.string()));
    if (user.id == 0 && user.is_mapped)
      return fail(EAGAIN, "no user id is free to check the VM's disk as: end other VMs first");
  }
  LB_ASSIGN(UniqueFd file, open_path(path, O_RDWR));
  LB_ASSIGN(const LentFile disk, LentFile::lend(std::move(file), user.id));
  ToolSpec check;
  check.argv = {"e2fsck", "-p", kToolInputPath};
  check.input = disk.fd();
  check.user = user.id;
  check.sees_input_only = true;
  int status = 0;
  std::string said;
  check.exit_status = &status;
  check.messages = &said;
  auto checked = run_tool(check);
  // Having repaired something is a status of its own, and so is having nothing more to repair.
  if (checked && status != 0) checked = run_tool(check);
  if (!checked && checked.error().code == ENOENT)
    return fail(ENOENT, "e2fsck is not installed: apt install e2fsprogs");
  if (!checked) {
    return while_doing(Error{checked.error().code, with_name(checked.error().text, path.string())},
                       "cannot check the VM's disk");
  }
  if (status == 0) return {};
  return fail(EIO, "the VM's disk is damaged: 'e2fsck -f' may repair it: e2fsck failed with exit status ",
              status, ": ", with_name(said, path.string()));
}

Result<void> prepare_guest_upper(const StateDirs& dirs, const VmDirectory& directory, VmConfig& config) {
  if (config.upper != UpperKind::kDisk) return {};
  LB_ASSIGN(const store::Image image,
            store::open_image(config.image, dirs, {.platform = image_platform(config)}));
  return prepare_upper_disk(directory, image.chain_id.text(), config);
}

}  // namespace layerboot::launcher
