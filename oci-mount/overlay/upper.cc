#include "oci-mount/overlay/upper.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <optional>

#include "oci-mount/base/bytes.h"
#include "oci-mount/base/files.h"
#include "oci-mount/base/log.h"
#include "oci-mount/overlay/allocated_range.h"
#include "oci-mount/overlay/host_abilities.h"
#include "oci-mount/overlay/marks.h"

namespace layerboot::overlay {

namespace {

constexpr std::size_t kMaxIdentityBytes = 4096;
/// The one inode that whiteouts are links of.
constexpr const char* kWhiteoutName = "whiteout";
/// What follows the identity in DIR/image where objects are not kept as themselves.
constexpr std::string_view kRecordedLine = "\nrecorded\n";

/// A directory of ours that hands nothing of its parent's down: no default ACL, no set-group-id bit.
Result<UniqueFd> open_or_make_plain(int parent, const char* name, mode_t mode) {
  const bool made = ::mkdirat(parent, name, mode) == 0;
  if (!made && errno != EEXIST) return errno_error("mkdir ", name);
  LB_ASSIGN(UniqueFd fd, open_directory_at({parent, name}));
  if (!made) return fd;
  LB_TRY(remove_acls_at({fd.get(), ""}));
  LB_TRY(set_mode_at({fd.get(), ""}, mode));
  return fd;
}

/// The directory belongs to one image for good: its whiteouts and redirects speak of that image's paths.
/// Nothing for a new one.
Result<std::optional<Keeping>> check_identity(const std::filesystem::path& directory,
                                              std::string_view identity) {
  const auto known = read_upper_identity(directory);
  if (!known) {
    if (known.error().code == ENOENT) return std::nullopt;
    return std::unexpected(known.error());
  }
  if (known->image != identity) {
    return fail(kOtherImage, "upper directory ", directory.string(), " belongs to another image (",
                known->image, "): use another --upper, or remove this one to start afresh");
  }
  if (::geteuid() != 0 && known->keeping == Keeping::kNative) {
    return fail(EPERM, "upper directory ", directory.string(),
                " was written by root: serve it as root, or use another --upper");
  }
  return known->keeping;
}

/// In one way for good.
Result<void> write_identity(const std::filesystem::path& directory, std::string_view identity,
                            Keeping keeping) {
  LB_ASSIGN(auto file, AtomicFile::create(directory / "image"));
  LB_TRY(file.append(as_bytes(str_cat(identity, keeping == Keeping::kNative ? "\n" : kRecordedLine))));
  return file.commit();
}

/// How objects will be kept: as they are, or as is wanted of a new upper and the host is able to.
Result<Keeping> choose_keeping(const std::filesystem::path& directory, int work_fd, HostAbilities able,
                               std::optional<Keeping> known, Keeping wanted) {
  const bool is_root = ::geteuid() == 0;
  Keeping keeping = known.value_or(is_root ? wanted : Keeping::kRecorded);
  if (!known && keeping == Keeping::kNative && !able.trusted_xattrs && able.user_xattrs) {
    log_info(
        "upper directory ", directory.string(), ": its file system (", file_system_name(work_fd),
        ") lets us set no trusted.* attributes: owners and devices are recorded, as an ordinary user's are");
    keeping = Keeping::kRecorded;
  }
  if (able.missing.empty() && !able.can_keep(keeping)) {
    able.missing.emplace_back(keeping == Keeping::kNative ? "trusted.* attributes" : "user.* attributes");
  }
  if (!able.missing.empty()) {
    return fail(EOPNOTSUPP, "upper directory ", directory.string(), ": its file system (",
                file_system_name(work_fd), ") has ", list_missing(able.missing),
                ": use a directory on ext4, XFS, btrfs or tmpfs (in a container, a volume)");
  }
  if (!able.user_xattrs) {
    log_warn(
        "upper directory ", directory.string(), ": its file system (", file_system_name(work_fd),
        ") has no user.* attributes: the guest can set none, and files lose theirs when they are changed");
  }
  return keeping;
}

Result<void> clear(int work_fd) {
  LB_ASSIGN(const auto leftovers, list_directory(work_fd));
  Result<void> cleared;
  for (const auto& leftover : leftovers) {
    auto removed = remove_tree_at({work_fd, leftover.name.c_str()});
    // A request that is still at work may remove what it has left here itself.
    if (removed || removed.error().code == ENOENT) continue;
    if (cleared) cleared = while_doing(removed.error(), leftover.name);
  }
  return cleared;
}

/// What we leave in DIR/work before there is an identity, if anything.
bool holds_trials_only(int fd, const std::string& name) {
  const auto directory = open_directory_at({fd, name.c_str()});
  if (!directory) return false;
  const auto entries = list_directory(directory->get());
  return entries && std::ranges::all_of(*entries, [](const HostDirent& entry) {
           return entry.name.starts_with(kTrialPrefix);
         });
}

/// Opening an upper clears its work directory, so a directory that holds something else is none.
Result<void> check_is_ours_or_empty(const std::filesystem::path& directory, int fd) {
  if (stat_at({fd, "image"})) return {};
  LB_ASSIGN(const auto entries, list_directory(fd));
  for (const auto& entry : entries) {
    if (entry.name == "lock" || (entry.name == "work" && holds_trials_only(fd, entry.name))) continue;
    return fail(ENOTEMPTY, "upper directory ", directory.string(), " holds something else (", entry.name,
                "): use an empty or a new directory");
  }
  return {};
}

/// The guest's set-id programs lie in it, with the guest's bytes: nobody else on the host may get there.
Result<void> close_to_others(const std::filesystem::path& directory, int fd, Keeping keeping) {
  struct stat st{};
  if (::fstat(fd, &st) != 0) return errno_error("fstat of ", directory.string());
  if (st.st_uid != ::geteuid()) {
    if (keeping == Keeping::kRecorded) return {};  // each object is closed
    return fail(EPERM, "upper directory ", directory.string(), " belongs to user ", st.st_uid,
                ", who could run the guest's set-id programs on this host: use a directory of root's");
  }
  constexpr mode_t kOfOthers = 0077;
  if ((st.st_mode & kOfOthers) == 0) return {};
  if (::fchmod(fd, 0700) != 0) return errno_error("cannot close ", directory.string(), " to others");
  log_info("upper directory ", directory.string(), " is now closed to other users of this host (mode 0700)");
  return {};
}

std::optional<CleanStop> read_clean_stop_in(int top_fd, int work_fd) {
  const auto root = open_directory_at({top_fd, "upper"});
  if (!root) return std::nullopt;
  return read_clean_stop({.top_fd = top_fd, .root_fd = root->get(), .work_fd = work_fd});
}

/// Takes back what the refusal of a new upper would leave.
void unmake(const std::filesystem::path& directory, int top_fd, bool made_directory) {
  static_cast<void>(unlink_at({top_fd, "work"}, AT_REMOVEDIR));
  if (!made_directory) return;
  static_cast<void>(unlink_at({top_fd, "lock"}));
  ::rmdir(directory.c_str());
}

/// Told by a directory that is as small as can be: work/ may have grown.
Tariff tariff_below(int work_fd) {
  constexpr const char* kDirectory = "trial-directory";
  static_assert(std::string_view(kDirectory).starts_with(kTrialPrefix));
  if (::mkdirat(work_fd, kDirectory, 0700) != 0) return tariff_of(work_fd);
  const auto small = open_at(work_fd, kDirectory, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  const Tariff tariff = tariff_of(small ? small->get() : work_fd);
  static_cast<void>(unlink_at({work_fd, kDirectory}, AT_REMOVEDIR));
  return tariff;
}

/// 0 where it is not known: the C library says 127 of hosts that it does not know either, tmpfs among them.
unsigned long most_links_on(int fd) {
  constexpr unsigned long kBtrfsMostLinks = 65535;  // BTRFS_LINK_MAX of fs/btrfs/ctree.h
  switch (host_kind_of(fd)) {
    case HostKind::kBtrfs:
      return kBtrfsMostLinks;
    case HostKind::kExt4:
    case HostKind::kXfs:
      // Asked at the opening: to tell ext4 from ext2 it reads what a daemon's sandbox does not have.
      return static_cast<unsigned long>(std::max(::fpathconf(fd, _PC_LINK_MAX), 0L));
    case HostKind::kTmpfs:
    case HostKind::kOther:
      break;
  }
  return 0;
}

}  // namespace

Result<Upper> Upper::open(const std::filesystem::path& directory, std::string_view image_identity,
                          Keeping wanted) {
  const bool is_new_directory = !std::filesystem::exists(std::filesystem::symlink_status(directory));
  LB_TRY(make_directories(directory, 0700));
  LB_ASSIGN(UniqueFd top, open_path(directory, O_RDONLY | O_DIRECTORY));
  LB_TRY(check_is_ours_or_empty(directory, top.get()));
  LB_ASSIGN(UniqueFd lock, open_at(top.get(), "lock", O_RDWR | O_CREAT | O_NOFOLLOW, 0600));
  if (::flock(lock.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return errno_error("cannot lock ", directory.string());
    return fail(EBUSY, "upper directory ", directory.string(),
                " is in use by another daemon: stop that one, or use another --upper");
  }
  LB_ASSIGN(const auto known, check_identity(directory, image_identity));
  auto work = open_or_make_plain(top.get(), "work", 0700);
  if (!work) return while_doing(work.error(), "cannot make ", (directory / "work").string());
  const auto stop = known ? read_clean_stop_in(top.get(), work->get()) : std::nullopt;
  if (auto cleared = clear(work->get()); !cleared) {
    return while_doing(cleared.error(), "cannot clear ", (directory / "work").string());
  }
  const HostAbilities able = try_host(work->get());
  auto keeping = choose_keeping(directory, work->get(), able, known, wanted);
  if (keeping) {
    if (auto closed = close_to_others(directory, top.get(), *keeping); !closed)
      keeping = std::unexpected(std::move(closed).error());
  }
  if (keeping && !known) {
    if (auto written = write_identity(directory, image_identity, *keeping); !written) {
      keeping = std::unexpected(std::move(written).error());
    }
  }
  if (!keeping) {
    if (!known) unmake(directory, top.get(), is_new_directory);
    return std::unexpected(std::move(keeping).error());
  }
  auto root = open_or_make_plain(top.get(), "upper", *keeping == Keeping::kNative ? 0755 : 0700);
  if (!root) return while_doing(root.error(), "cannot make ", (directory / "upper").string());
  if (auto forgotten = forget_clean_stop(top.get()); !forgotten) {
    return while_doing(forgotten.error(), "cannot remove ", (directory / "clean").string());
  }
  // An overwrite would take space for as long as a byte is left of what was written with the old bytes.
  const Tariff tariff = tariff_below(work->get());
  if (tariff.copies_on_write()) {
    for (const int made_in : {root->get(), work->get()}) write_in_place_below(made_in);
  }
  // What the guest makes durable below must not hang from names that are not.
  if (::fsync(top.get()) != 0) return errno_error("fsync of ", directory.string());
  Upper upper(*keeping, std::move(top), std::move(lock), *std::move(root), *std::move(work));
  upper.clean_stop_ = stop;
  upper.tariff_ = tariff;
  upper.most_links_ = most_links_on(upper.root_fd());
  upper.nameless_files_ = able.nameless_files;
  return upper;
}

Upper::Upper(Upper&&) noexcept = default;
Upper::~Upper() = default;

Result<void> Upper::clear_work() { return clear(work_.get()); }

Result<Survey> Upper::survey(MemoryBudget* memory, const LateFilesByInode* late) const {
  auto survey = survey_directory(keeping_, root_.get(), tariff_, memory, late);
  if (!survey) return while_doing(survey.error(), "cannot measure the upper directory");
  return survey;
}

Result<void> Upper::leave_clean_stop(const CleanStop& stop) {
  return write_clean_stop({.top_fd = top_.get(), .root_fd = root_.get(), .work_fd = work_.get()}, stop);
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
