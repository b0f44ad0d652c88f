#include "launcher/vm/named_volumes.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <algorithm>

#include "launcher/vm/vm_directory.h"
#include "launcher/vm/vm_list.h"
#include "oci-mount/base/files.h"
#include "oci-mount/base/mode_bits.h"

namespace layerboot::launcher {

namespace {

/// What programs of the guest find, whoever they are there: the folder above lets nobody in.
constexpr mode_t kVolumeMode = 0755;

std::filesystem::path place_of(const StateDirs& dirs) { return dirs.data / "volumes"; }

/// What each VM was last run with, by its name.
using Records = std::map<std::string, VmRecord>;

std::vector<std::string> users_of(const Records& vms, const std::string& name) {
  std::vector<std::string> users;
  for (const auto& [vm, record] : vms) {
    const bool has =
        std::ranges::any_of(record.run.volumes, [&](const Volume& volume) { return volume.name == name; });
    if (has) users.push_back(vm);
  }
  return users;
}

/// A record that can't be read might name any volume.
Result<Records> read_records(const StateDirs& dirs) {
  LB_ASSIGN(const auto names, vm_names(dirs));
  Records records;
  for (const std::string& name : names) {
    auto record = load_vm_record(VmPaths(dirs, name));
    if (!record && record.error().code == ENOENT) continue;
    if (!record) return std::unexpected(std::move(record).error());
    records.emplace(name, *std::move(record));
  }
  return records;
}

}  // namespace

Result<void> check_volume_name(std::string_view name) {
  if (check_name(name)) return {};
  return fail(EINVAL, "'", name, "' can't name a volume: use letters, digits, '-', '_' and '.', at most ",
              kMaxNameLength, ", starting with a letter or digit; a path has a '/', as in ./", name);
}

Result<void> settle_named_volumes(const StateDirs& dirs, RunSettings& settings) {
  for (Volume& volume : settings.volumes) {
    if (volume.name.empty()) continue;
    const auto made = create_named_volume(dirs, volume.name);
    if (!made && made.error().code != EEXIST) return made;
    volume.host = (place_of(dirs) / volume.name).string();
  }
  return {};
}

Result<std::vector<store::Lease>> hold_named_volumes(const RunSettings& settings) {
  std::vector<store::Lease> held;
  for (const Volume& volume : settings.volumes) {
    if (volume.name.empty()) continue;
    LB_ASSIGN(held.emplace_back(), store::take_lease(volume.host));
  }
  return held;
}

Result<void> create_named_volume(const StateDirs& dirs, const std::string& name) {
  LB_TRY(check_volume_name(name));
  LB_TRY(make_directories(place_of(dirs), kPrivateDirectory));
  const auto path = place_of(dirs) / name;
  if (::mkdir(path.c_str(), kVolumeMode) == 0) return {};
  if (errno == EEXIST) return fail(EEXIST, "volume ", name, " is there already");
  return errno_error("cannot make ", path.string());
}

Result<std::vector<NamedVolume>> list_named_volumes(const StateDirs& dirs) {
  LB_ASSIGN(const auto vms, read_records(dirs));
  std::vector<NamedVolume> volumes;
  std::error_code error;
  for (auto it = std::filesystem::directory_iterator(place_of(dirs), error);
       !error && it != std::filesystem::directory_iterator(); it.increment(error)) {
    const std::string name = it->path().filename().string();
    if (check_name(name)) volumes.push_back({.name = name, .path = it->path(), .vms = users_of(vms, name)});
  }
  if (error && error != std::errc::no_such_file_or_directory) {
    return fail(error.value(), "cannot list ", place_of(dirs).string(), ": ", error.message());
  }
  std::ranges::sort(volumes, {}, &NamedVolume::name);
  return volumes;
}

Result<void> remove_named_volume(const StateDirs& dirs, const std::string& name) {
  LB_TRY(check_volume_name(name));
  const auto path = place_of(dirs) / name;
  struct stat st{};
  if (::lstat(path.c_str(), &st) != 0)
    return fail(ENOENT, "no volume ", name, ": 'layerboot volume ls' lists what is there");
  LB_ASSIGN(const auto vms, read_records(dirs));
  const auto users = users_of(vms, name);
  if (!users.empty()) {
    return fail(EBUSY, "volume ", name, " is VM ", users.front(), "'s: 'layerboot rm ", users.front(),
                "' first");
  }
  // A run that comes now has to wait, and finds that the directory is gone.
  const auto directory = open_path(path, O_RDONLY);
  if (directory && ::flock(directory->get(), LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK)
    return fail(EBUSY, "volume ", name, " is in use by a VM that runs: stop it first");
  return remove_tree(path);
}

}  // namespace layerboot::launcher
