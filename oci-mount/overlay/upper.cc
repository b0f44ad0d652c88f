#include "oci-mount/overlay/upper.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <unordered_set>

#include "oci-mount/base/bytes.h"
#include "oci-mount/base/files.h"
#include "oci-mount/overlay/marks.h"

namespace layerboot::overlay {

namespace {

constexpr std::size_t kMaxIdentityBytes = 4096;
/// The one inode that whiteouts are links of.
constexpr const char* kWhiteoutName = "whiteout";
/// What follows the identity in DIR/image where objects are not kept as themselves.
constexpr std::string_view kRecordedLine = "\nrecorded\n";

Result<UniqueFd> open_or_make(int parent, const char* name, mode_t mode) {
  if (::mkdirat(parent, name, mode) != 0 && errno != EEXIST) return errno_error("mkdir ", name);
  auto fd = open_directory_at({parent, name});
  if (!fd) return while_doing(fd.error(), name);
  return fd;
}

/// The directory belongs to one image for good: its whiteouts and redirects speak of that image's paths. And
/// it is kept in one way for good.
Result<Keeping> check_identity(const std::filesystem::path& directory, std::string_view identity,
                               Keeping wanted) {
  const bool is_root = ::geteuid() == 0;
  if (const auto known = read_upper_identity(directory); known) {
    if (known->image != identity) {
      return fail(kOtherImage, "upper directory ", directory.string(), " belongs to another image (",
                  known->image, "): use another --upper, or remove this one to start afresh");
    }
    if (is_root || known->keeping == Keeping::kRecorded) return known->keeping;
    return fail(EPERM, "upper directory ", directory.string(),
                " was written by root: serve it as root, or use another --upper");
  } else if (known.error().code != ENOENT) {
    return std::unexpected(known.error());
  }
  const Keeping keeping = is_root ? wanted : Keeping::kRecorded;
  LB_ASSIGN(auto file, AtomicFile::create(directory / "image"));
  LB_TRY(file.append(as_bytes(str_cat(identity, keeping == Keeping::kNative ? "\n" : kRecordedLine))));
  LB_TRY(file.commit());
  return keeping;
}

/// A walk over directories of any depth, with one descriptor and no recursion: where it is, and what is left
/// to enter on each level above.
class Walk {
 public:
  static Result<Survey> over(Keeping keeping, int root_fd) {
    Walk walk(keeping);
    LB_ASSIGN(walk.here_, open_directory_at({root_fd, "."}));
    LB_ASSIGN(const auto root, stat_at({root_fd, ""}));
    walk.found_.usage.bytes = charge_of_root(root);
    LB_TRY(walk.look_around());
    while (!walk.levels_.empty()) LB_TRY(walk.step());
    return std::move(walk.found_);
  }

 private:
  explicit Walk(Keeping keeping) : keeping_(keeping) {}

  struct Level {
    std::vector<std::string> directories;  // still to enter
    std::size_t path_bytes = 0;            // of path_, for this level's own directory
  };

  Result<void> step() {
    Level& level = levels_.back();
    if (level.directories.empty()) {
      levels_.pop_back();
      if (levels_.empty()) return {};
      path_.resize(levels_.back().path_bytes);
      LB_ASSIGN(here_, open_parent_of(here_.get()));
      return {};
    }
    const std::string name = std::move(level.directories.back());
    level.directories.pop_back();
    const Place place{here_.get(), name.c_str()};
    LB_ASSIGN(const auto redirect, get_xattr_at(place, marks_of(keeping_).redirect));
    if (!path_.empty()) path_ += '/';
    path_ += name;
    if (redirect) found_.moved_directories.push_back(path_);
    LB_ASSIGN(here_, open_directory_at(place));
    return look_around();
  }

  Result<void> look_around() {
    Level level;
    level.path_bytes = path_.size();
    LB_ASSIGN(const auto entries, list_directory(here_.get()));
    for (const auto& entry : entries) {
      LB_ASSIGN(const auto st, stat_at({here_.get(), entry.name.c_str()}));
      if (is_whiteout(st)) continue;  // free: rm works when the disk is full
      if (!S_ISDIR(st.st_mode) && st.st_nlink > 1 && !multi_link_inodes_.insert(st.st_ino).second) continue;
      found_.usage.bytes += static_cast<std::uint64_t>(st.st_blocks) * 512;
      found_.usage.inodes += 1;
      if (S_ISDIR(st.st_mode)) level.directories.push_back(entry.name);
    }
    levels_.push_back(std::move(level));
    return {};
  }

  Keeping keeping_;
  UniqueFd here_;
  std::string path_;
  std::vector<Level> levels_;
  std::unordered_set<std::uint64_t> multi_link_inodes_;
  Survey found_;
};

/// Opening an upper clears its work directory, so a directory that holds something else is none.
Result<void> check_is_ours_or_empty(const std::filesystem::path& directory, int fd) {
  if (stat_at({fd, "image"})) return {};
  LB_ASSIGN(const auto entries, list_directory(fd));
  for (const auto& entry : entries) {
    if (entry.name == "lock") continue;
    return fail(ENOTEMPTY, "upper directory ", directory.string(), " holds something else (", entry.name,
                "): use an empty or a new directory");
  }
  return {};
}

}  // namespace

Result<Upper> Upper::open(const std::filesystem::path& directory, std::string_view image_identity,
                          Keeping wanted) {
  LB_TRY(make_directories(directory, 0700));
  LB_ASSIGN(const UniqueFd top, open_path(directory, O_RDONLY | O_DIRECTORY));
  LB_TRY(check_is_ours_or_empty(directory, top.get()));
  LB_ASSIGN(UniqueFd lock, open_at(top.get(), "lock", O_RDWR | O_CREAT | O_NOFOLLOW, 0600));
  if (::flock(lock.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return errno_error("cannot lock ", directory.string());
    return fail(EBUSY, "upper directory ", directory.string(),
                " is in use by another daemon: stop that one, or use another --upper");
  }
  LB_ASSIGN(const Keeping keeping, check_identity(directory, image_identity, wanted));
  LB_ASSIGN(UniqueFd root, open_or_make(top.get(), "upper", 0755));
  LB_ASSIGN(UniqueFd work, open_or_make(top.get(), "work", 0700));
  LB_ASSIGN(const auto leftovers, list_directory(work.get()));
  for (const auto& leftover : leftovers) {
    if (auto removed = remove_tree_at({work.get(), leftover.name.c_str()}); !removed) {
      return while_doing(removed.error(), "cannot clear ", (directory / "work").string());
    }
  }
  return Upper(keeping, std::move(lock), std::move(root), std::move(work));
}

Result<Survey> survey_directory(Keeping keeping, int root_fd) { return Walk::over(keeping, root_fd); }

Result<Survey> Upper::survey() const {
  auto survey = survey_directory(keeping_, root_.get());
  if (!survey) return while_doing(survey.error(), "cannot measure the upper directory");
  return survey;
}

Result<UpperIdentity> read_upper_identity(const std::filesystem::path& directory) {
  LB_ASSIGN(const std::string text, read_file(directory / "image", kMaxIdentityBytes));
  const auto end = std::min(text.find('\n'), text.size());
  return UpperIdentity{
      .image = text.substr(0, end),
      .keeping = std::string_view(text).substr(end) == kRecordedLine ? Keeping::kRecorded : Keeping::kNative};
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
