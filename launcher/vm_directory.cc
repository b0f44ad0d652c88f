#include "launcher/vm_directory.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <system_error>

#include "oci-mount/base/bytes.h"
#include "oci-mount/base/files.h"

namespace layerboot::launcher {

namespace {

constexpr std::size_t kMaxRecordBytes = std::size_t{1} << 20;
constexpr mode_t kPrivateDirectory = 0700;
constexpr mode_t kPrivateFile = 0600;

}  // namespace

Result<void> check_socket_path(const std::filesystem::path& path) {
  constexpr std::size_t kMaxBytes = sizeof(sockaddr_un::sun_path) - 1;
  if (path.native().size() <= kMaxBytes) return {};
  return fail(ENAMETOOLONG, "socket path ", path.string(), " has ", path.native().size(),
              " bytes, more than the ", kMaxBytes,
              " of a Unix socket: set XDG_RUNTIME_DIR to a shorter directory, or shorten the name");
}

VmDirectory::VmDirectory(std::string name, std::filesystem::path state, std::filesystem::path runtime,
                         UniqueFd lock)
    : name_(std::move(name)),
      state_(std::move(state)),
      runtime_(std::move(runtime)),
      lock_(std::move(lock)) {}

VmDirectory::VmDirectory(VmDirectory&& other) noexcept = default;

Result<VmDirectory> VmDirectory::open(const StateDirs& dirs, const std::string& name) {
  LB_TRY(check_name(name));
  const auto state = dirs.vms() / name;
  const auto runtime = dirs.runtime / name;
  LB_TRY(check_socket_path(runtime / "virtiofs.sock"));
  LB_TRY(make_directories(dirs.vms(), kPrivateDirectory));
  const bool fresh = ::mkdir(state.c_str(), kPrivateDirectory) == 0;
  LB_TRY(make_directories(state, kPrivateDirectory));
  LB_ASSIGN(UniqueFd lock, open_path(state / "lock", O_RDWR | O_CREAT, kPrivateFile));
  if (::flock(lock.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return errno_error("cannot lock ", (state / "lock").string());
    return fail(EBUSY, "VM ", name, " is running already: stop it, or start another with --name");
  }
  // A launcher that was killed may have left its socket; with the lock held it is nobody's.
  VmDirectory directory(name, state, runtime, std::move(lock));
  directory.fresh_ = fresh;
  LB_TRY(make_directories(runtime, kPrivateDirectory));
  LB_TRY(make_directories(directory.upper(), kPrivateDirectory));
  if (::unlink(directory.virtiofs_socket().c_str()) != 0 && errno != ENOENT) {
    return errno_error("cannot remove stale socket ", directory.virtiofs_socket().string());
  }
  return directory;
}

VmDirectory::~VmDirectory() {
  if (!lock_) return;  // moved from
  ::unlink(virtiofs_socket().c_str());
  ::rmdir(runtime_.c_str());
  std::error_code ignored;
  if (fresh_) std::filesystem::remove_all(state_, ignored);
}

Result<VmRecord> VmDirectory::load_record() const {
  const auto text = read_file(config(), kMaxRecordBytes);
  if (!text && text.error().code != ENOENT) return std::unexpected(text.error());
  if (!text) {
    VmRecord fresh;
    fresh.name = name_;
    LB_ASSIGN(fresh.machine_id, make_machine_id());
    return fresh;
  }
  auto record = record_from_json(*text);
  if (!record) {
    return fail(EINVAL, config().string(), ": ", record.error().describe(),
                ": remove the file to have it written again");
  }
  return record;
}

Result<void> VmDirectory::save_record(const VmRecord& record) const {
  const std::string text = record_to_json(record);
  if (const auto present = read_file(config(), kMaxRecordBytes); present && *present == text) return {};
  LB_ASSIGN(auto file, AtomicFile::create(config(), kPrivateFile));
  LB_TRY(file.append(as_bytes(text)));
  return file.commit();
}

}  // namespace layerboot::launcher
