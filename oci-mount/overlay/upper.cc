#include "oci-mount/overlay/upper.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <unordered_set>

#include "oci-mount/base/bytes.h"
#include "oci-mount/base/files.h"

namespace layerboot::overlay {

namespace {

constexpr std::size_t kMaxIdentityBytes = 4096;
/// The one inode that whiteouts are links of.
constexpr const char* kWhiteoutName = "whiteout";

Result<UniqueFd> open_or_make(int parent, const char* name, mode_t mode) {
  if (::mkdirat(parent, name, mode) != 0 && errno != EEXIST) return errno_error("mkdir ", name);
  auto fd = open_directory_at({parent, name});
  if (!fd) return while_doing(fd.error(), name);
  return fd;
}

/// The directory belongs to one image for good: its whiteouts and redirects speak of that image's paths.
Result<void> check_identity(const std::filesystem::path& directory, std::string_view identity) {
  const auto path = directory / "image";
  const auto known = read_file(path, kMaxIdentityBytes);
  if (known) {
    if (std::string_view(*known) == str_cat(identity, '\n')) return {};
    return fail(EINVAL, "upper directory ", directory.string(), " belongs to another image (",
                known->substr(0, known->find('\n')), "): use another --upper, or remove this one to start afresh");
  }
  if (known.error().code != ENOENT) return std::unexpected(known.error());
  LB_ASSIGN(auto file, AtomicFile::create(path));
  LB_TRY(file.append(as_bytes(str_cat(identity, '\n'))));
  return file.commit();
}

struct Walk {
  Quota::Usage usage;
  std::unordered_set<std::uint64_t> multi_link_inodes;
};

Result<void> measure_into(int dir_fd, Walk& walk) {
  LB_ASSIGN(const auto entries, list_directory(dir_fd));
  for (const auto& entry : entries) {
    const Place place{dir_fd, entry.name.c_str()};
    LB_ASSIGN(const auto st, stat_at(place));
    if (S_ISCHR(st.st_mode) && st.st_rdev == 0) continue;  // whiteouts are free: rm works when the disk is full
    if (!S_ISDIR(st.st_mode) && st.st_nlink > 1 && !walk.multi_link_inodes.insert(st.st_ino).second) continue;
    walk.usage.bytes += static_cast<std::uint64_t>(st.st_blocks) * 512;
    walk.usage.inodes += 1;
    if (S_ISDIR(st.st_mode)) {
      LB_ASSIGN(const UniqueFd child, open_directory_at(place));
      LB_TRY(measure_into(child.get(), walk));
    }
  }
  return {};
}

}  // namespace

Result<Upper> Upper::open(const std::filesystem::path& directory, std::string_view image_identity) {
  if (::geteuid() != 0) {
    return fail(EPERM, "a writable upper directory needs root for now: run as root, or serve --read-only");
  }
  LB_TRY(make_directories(directory, 0700));
  LB_ASSIGN(const UniqueFd top, open_path(directory, O_RDONLY | O_DIRECTORY));
  LB_ASSIGN(UniqueFd lock, open_at(top.get(), "lock", O_RDWR | O_CREAT | O_NOFOLLOW, 0600));
  if (::flock(lock.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return errno_error("cannot lock ", directory.string());
    return fail(EBUSY, "upper directory ", directory.string(),
                " is in use by another daemon: stop that one, or use another --upper");
  }
  LB_TRY(check_identity(directory, image_identity));
  LB_ASSIGN(UniqueFd root, open_or_make(top.get(), "upper", 0755));
  LB_ASSIGN(UniqueFd work, open_or_make(top.get(), "work", 0700));
  LB_ASSIGN(const auto leftovers, list_directory(work.get()));
  for (const auto& leftover : leftovers) {
    if (auto removed = remove_tree_at({work.get(), leftover.name.c_str()}); !removed) {
      return while_doing(removed.error(), "cannot clear ", (directory / "work").string());
    }
  }
  return Upper(std::move(lock), std::move(root), std::move(work));
}

Result<Quota::Usage> Upper::measure() const {
  Walk walk;
  if (auto measured = measure_into(root_.get(), walk); !measured) {
    return while_doing(measured.error(), "cannot measure the upper directory");
  }
  return walk.usage;
}

std::string Upper::work_name() { return str_cat('t', next_work_name_++); }

Result<void> Upper::make_whiteout(Place place) {
  const Place shared{work_.get(), kWhiteoutName};
  auto linked = link_at(shared, place);
  if (linked || (linked.error().code != ENOENT && linked.error().code != EMLINK)) return linked;
  static_cast<void>(unlink_at(shared));
  if (::mknodat(place.dir_fd, place.name, S_IFCHR, makedev(0, 0)) != 0) return fail(errno);
  // Only an economy: without the shared inode, each whiteout is one of its own.
  static_cast<void>(link_at(place, shared));
  return {};
}

}  // namespace layerboot::overlay
