#include "oci-mount/base/own_places.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <string>
#include <string_view>
#include <system_error>

#include "oci-mount/base/log.h"
#include "oci-mount/base/mode_bits.h"
#include "oci-mount/base/unique_fd.h"

namespace layerboot {

namespace {

namespace fs = std::filesystem;

constexpr auto kDataPlaces = std::to_array<const char*>({"store", "vms", "volumes", "build", "events"});
/// Of these the directories in them.
constexpr auto kDataShelves = std::to_array<const char*>({"disks", "kernels"});
constexpr auto kCachePlaces = std::to_array<const char*>({"index", "unpacked"});
/// Kernels that anybody can have. The others are an image's, a file's or this host's.
constexpr auto kPublicKernels = std::to_array<std::string_view>({"debian", "custom"});
constexpr std::size_t kMaxLooked = 10'000;

bool lets_others_in(const fs::path& directory) {
  struct stat st{};
  return ::stat(directory.c_str(), &st) == 0 && (st.st_mode & S_IXOTH) != 0;
}

bool is_open_and_ours(const fs::path& directory) {
  struct stat st{};
  return ::lstat(directory.c_str(), &st) == 0 && S_ISDIR(st.st_mode) && st.st_uid == ::geteuid() &&
         (st.st_mode & S_IRWXO) != 0;
}

bool is_public(const fs::path& place) {
  const std::string name = place.filename().string();
  return place.parent_path().filename() == "kernels" &&
         std::ranges::any_of(kPublicKernels,
                             [&](std::string_view kernel) { return name.starts_with(kernel); });
}

void add_if_open(const fs::path& place, std::vector<fs::path>& open) {
  if (is_open_and_ours(place) && !is_public(place)) open.push_back(place);
}

void add_open_in(const fs::path& shelf, std::vector<fs::path>& open) {
  std::error_code error;
  fs::directory_iterator entry(shelf, error);
  for (std::size_t looked = 0; !error && entry != fs::directory_iterator() && looked < kMaxLooked; ++looked) {
    add_if_open(entry->path(), open);
    entry.increment(error);
  }
}

std::vector<fs::path> open_in_data(const fs::path& data) {
  std::vector<fs::path> open;
  if (!lets_others_in(data)) return open;
  for (const char* place : kDataPlaces) add_if_open(data / place, open);
  for (const char* shelf : kDataShelves) {
    if (lets_others_in(data / shelf)) add_open_in(data / shelf, open);
  }
  std::ranges::sort(open);
  return open;
}

std::vector<fs::path> open_in_cache(const fs::path& cache) {
  std::vector<fs::path> open;
  if (!lets_others_in(cache)) return open;
  for (const char* place : kCachePlaces) add_if_open(cache / place, open);
  return open;
}

/// As StateDirs takes it: a relative path is none.
bool is_named_by(const char* variable) {
  const char* const value = std::getenv(variable);
  return value != nullptr && value[0] == '/';
}

/// What a group was given stays its own. The user's own group has what an earlier version gave to all.
mode_t closed(const struct stat& st) {
  constexpr mode_t kAsItWasMade = 0755;
  const mode_t mode = st.st_mode & kPermissionBits;
  return mode == kAsItWasMade && st.st_gid == ::getegid() ? kPrivateDirectory : mode & ~mode_t{S_IRWXO};
}

bool close_place(const fs::path& place) {
  const UniqueFd directory(::open(place.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  struct stat st{};
  return directory && ::fstat(directory.get(), &st) == 0 && st.st_uid == ::geteuid() &&
         ::fchmod(directory.get(), closed(st)) == 0;
}

}  // namespace

std::vector<fs::path> places_open_to_others(const StateDirs& dirs) {
  auto open = open_in_data(dirs.data);
  std::ranges::move(open_in_cache(dirs.cache), std::back_inserter(open));
  return open;
}

void close_own_places(const StateDirs& dirs) {
  std::vector<fs::path> open;
  if (!is_named_by("XDG_DATA_HOME")) open = open_in_data(dirs.data);
  if (!is_named_by("XDG_CACHE_HOME")) std::ranges::move(open_in_cache(dirs.cache), std::back_inserter(open));
  std::string closed;
  for (const fs::path& place : open) {
    if (close_place(place)) closed += str_cat(closed.empty() ? "" : ", ", place.string());
  }
  if (closed.empty()) return;
  log_info(closed, ": now closed to other users of this host, as images and VMs may be private; ",
           "to share on purpose, name the place by XDG_DATA_HOME or XDG_CACHE_HOME");
}

}  // namespace layerboot
