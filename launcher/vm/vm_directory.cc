#include "launcher/vm/vm_directory.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <system_error>
#include <vector>

#include "launcher/host/unix_socket.h"
#include "oci-mount/base/bytes.h"
#include "oci-mount/base/file_lock.h"
#include "oci-mount/base/files.h"
#include "oci-mount/base/log.h"
#include "oci-mount/base/mode_bits.h"
#include "oci-mount/base/spelling.h"

namespace layerboot::launcher {

namespace {

constexpr std::size_t kMaxRecordBytes = std::size_t{1} << 20;
/// Longer than anyone takes who looks whether the lock is held (is_held()).
constexpr std::chrono::milliseconds kLockBound{50};
constexpr std::size_t kMaxNamesLooked = 1000;
constexpr std::size_t kMaxIdentityBytes = 4096;

Result<void> remove_file(const std::filesystem::path& file) {
  if (::unlink(file.c_str()) != 0 && errno != ENOENT) return errno_error("cannot remove ", file.string());
  return {};
}

}  // namespace

Error no_such_vm(const StateDirs& dirs, const std::string& name) {
  std::vector<std::string> known;
  std::error_code ignored;
  for (auto it = std::filesystem::directory_iterator(dirs.vms(), ignored);
       !ignored && it != std::filesystem::directory_iterator() && known.size() < kMaxNamesLooked;
       it.increment(ignored)) {
    known.push_back(it->path().filename().string());
  }
  std::ranges::sort(known);
  const std::string near = did_you_mean(name, known);
  return {ENOENT,
          str_cat("no VM ", name, near.empty() ? ":" : near, " 'layerboot ps -a' lists what is there")};
}

Error vm_not_running(const std::string& name) {
  return {ENOENT, str_cat("VM ", name, " does not run: 'layerboot start ", name, "' starts it")};
}

VmDirectory::VmDirectory(std::string name, VmPaths paths, UniqueFd lock)
    : name_(std::move(name)), paths_(std::move(paths)), lock_(std::move(lock)) {}

VmDirectory::VmDirectory(VmDirectory&& other) noexcept = default;

Result<VmDirectory> VmDirectory::open(const StateDirs& dirs, const std::string& name) {
  return prepare(dirs, name, false);
}

Result<VmDirectory> VmDirectory::create(const StateDirs& dirs, const std::string& name) {
  return prepare(dirs, name, true);
}

Result<void> check_runtime(const StateDirs& dirs, const VmPaths& paths) {
  for (const auto& directory : {dirs.runtime, paths.runtime}) {
    auto own = check_own_directory(directory);
    if (own || own.error().code == ENOENT) continue;
    return fail(own.error().code, own.error().describe(),
                ": sockets are not safe there; remove it, or set XDG_RUNTIME_DIR to a directory of your own");
  }
  return {};
}

Result<VmDirectory> VmDirectory::prepare(const StateDirs& dirs, const std::string& name, bool must_be_new) {
  LB_TRY(check_name(name));
  const VmPaths paths(dirs, name);
  LB_TRY(check_socket_path(paths.control_socket()));
  LB_TRY(check_runtime(dirs, paths));
  LB_TRY(make_directories(dirs.vms(), kPrivateDirectory));
  const bool fresh = ::mkdir(paths.state.c_str(), kPrivateDirectory) == 0;
  if (!fresh && errno == EEXIST && must_be_new) return fail(EEXIST, "VM ", name, " is there already");
  LB_TRY(make_directories(paths.state, kPrivateDirectory));
  LB_ASSIGN(VmDirectory directory, lock(dirs, name, fresh));
  LB_TRY(make_directories(paths.runtime, kPrivateDirectory));
  // Again: somebody may have been faster.
  LB_TRY(check_runtime(dirs, paths));
  LB_TRY(make_directories(paths.upper(), kPrivateDirectory));
  return directory;
}

bool is_held(const VmPaths& paths) {
  const UniqueFd lock(::open((paths.state / "lock").c_str(), O_RDONLY | O_CLOEXEC));
  return lock && ::flock(lock.get(), LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK;
}

Result<VmDirectory> VmDirectory::open_existing(const StateDirs& dirs, const std::string& name) {
  LB_TRY(check_name(name));
  struct stat st{};
  if (::stat(VmPaths(dirs, name).state.c_str(), &st) != 0) {
    return std::unexpected(no_such_vm(dirs, name));
  }
  return lock(dirs, name, false);
}

Result<VmDirectory> VmDirectory::lock(const StateDirs& dirs, const std::string& name, bool fresh) {
  const VmPaths paths(dirs, name);
  const auto file = paths.state / "lock";
  LB_ASSIGN(UniqueFd lock, open_path(file, O_RDWR | O_CREAT, kPrivateFile));
  if (!take_lock_within(lock.get(), kLockBound)) {
    if (errno != EWOULDBLOCK) return errno_error("cannot lock ", file.string());
    return fail(EBUSY, "VM ", name, " is running already: stop it, or start another with --name");
  }
  if (!is_still_at(lock.get(), file))
    return fail(EBUSY, "VM ", name, " was just removed or renamed: try again");
  // Before the object is there, which removes sockets.
  LB_TRY(check_runtime(dirs, paths));
  VmDirectory directory(name, paths, std::move(lock));
  directory.fresh_ = fresh;
  // A launcher that was killed may have left its sockets; with the lock held they are nobody's.
  for (const auto& socket :
       {paths.control_socket(), paths.agent_socket(), paths.vfsd_socket(), paths.docker_socket()}) {
    if (::unlink(socket.c_str()) != 0 && errno != ENOENT) {
      return errno_error("cannot remove stale socket ", socket.string());
    }
  }
  if (!fresh) LB_TRY(directory.throw_away_spent_upper());
  return directory;
}

VmDirectory::~VmDirectory() {
  if (!lock_) return;  // moved from, or left to another process
  ::unlink(paths_.control_socket().c_str());
  ::unlink(paths_.agent_socket().c_str());
  ::unlink(paths_.vfsd_socket().c_str());  // of a daemon that was killed
  ::rmdir(paths_.runtime.c_str());
  if (!fresh_) return;
  if (const auto removed = remove_tree(paths_.state); !removed) log_warn(removed.error().describe());
}

Result<void> VmDirectory::remove() {
  fresh_ = false;
  return remove_tree(paths_.state);
}

Result<void> VmDirectory::rename(const StateDirs& dirs, const std::string& name) {
  LB_TRY(check_name(name));
  VmPaths paths(dirs, name);
  LB_TRY(check_socket_path(paths.control_socket()));
  LB_ASSIGN(VmRecord record, load_vm_record(paths_));
  if (::renameat2(AT_FDCWD, paths_.state.c_str(), AT_FDCWD, paths.state.c_str(), RENAME_NOREPLACE) != 0) {
    if (errno == EEXIST) return fail(EEXIST, "VM ", name, " is there already");
    return errno_error("cannot rename ", paths_.state.string());
  }
  ::rmdir(paths_.runtime.c_str());
  name_ = name;
  paths_ = std::move(paths);
  record.name = name;
  return save_vm_record(paths_, record);
}

Result<void> VmDirectory::throw_away_upper() const {
  LB_TRY(throw_away_root_upper());
  LB_TRY(remove_tree(paths_.volume_uppers()));
  for (const auto& file :
       {paths_.root_disk(DiskFormat::kQcow2), paths_.root_disk(DiskFormat::kRaw), paths_.root_disk_base()}) {
    LB_TRY(remove_file(file));
  }
  return {};
}

Result<void> VmDirectory::throw_away_root_upper() const {
  // What an interrupted removal left.
  LB_TRY(remove_tree(paths_.old_upper()));
  // For good: what was thrown away must not be back after a power cut, beside disks that are gone.
  if (auto moved = rename_durably(paths_.upper(), paths_.old_upper());
      !moved && moved.error().code != ENOENT) {
    return moved;
  }
  // The disk first: without it nobody asks what it was of.
  for (const auto& file : {paths_.upper_disk(), paths_.upper_disk_image()}) LB_TRY(remove_file(file));
  return remove_tree(paths_.old_upper());
}

Result<void> VmDirectory::go_on_from(const std::string& image, const std::string& identity) const {
  LB_ASSIGN(VmRecord record, load_vm_record(paths_));
  record.image = image;
  record.spent_upper = identity;
  LB_TRY(save_record(record));
  return throw_away_spent_upper();
}

Result<void> VmDirectory::throw_away_spent_upper() const {
  auto record = load_vm_record(paths_);
  // Who needs a record says what is wrong with it.
  if (!record || record->spent_upper.empty()) return {};
  const auto written = upper_identity(paths_);
  if (written ? *written == record->spent_upper : written.error().code == ENOENT) {
    LB_TRY(throw_away_root_upper());
  } else if (!written) {
    return std::unexpected(written.error());
  }
  record->spent_upper.clear();
  return save_record(*record);
}

Result<std::string> upper_identity(const VmPaths& paths) {
  std::error_code ignored;
  const bool is_disk = std::filesystem::exists(paths.upper_disk(), ignored);
  return identity_of_upper(is_disk ? paths.upper_disk_image() : paths.upper() / kUpperIdentityName);
}

Result<std::string> identity_of_upper(const std::filesystem::path& file) {
  LB_ASSIGN(const std::string text, read_file(file, kMaxIdentityBytes));
  return text.substr(0, text.find('\n'));
}

Result<VmRecord> load_vm_record(const VmPaths& paths) {
  const auto text = read_file(paths.config(), kMaxRecordBytes);
  if (!text && text.error().code == ENOENT) {
    const std::string name = paths.state.filename().string();
    return fail(ENOENT, "no run of VM ", name, " has come up yet: 'layerboot run --name ", name,
                " IMAGE' begins one, 'layerboot rm ", name, "' removes what is there");
  }
  if (!text) return std::unexpected(text.error());
  auto record = record_from_json(*text);
  if (record) return record;
  return fail(EINVAL, paths.config().string(), ": ", record.error().describe(),
              ": remove the file to have it written again");
}

Result<VmRecord> VmDirectory::load_record() const {
  auto record = load_vm_record(paths_);
  if (record || record.error().code != ENOENT) return record;
  VmRecord fresh;
  fresh.name = name_;
  LB_ASSIGN(fresh.machine_id, make_machine_id());
  return fresh;
}

Result<void> save_vm_record(const VmPaths& paths, const VmRecord& record) {
  const std::string text = record_to_json(record);
  if (const auto present = read_file(paths.config(), kMaxRecordBytes); present && *present == text) return {};
  return write_whole_file(paths.config(), text, kPrivateFile);
}

}  // namespace layerboot::launcher
