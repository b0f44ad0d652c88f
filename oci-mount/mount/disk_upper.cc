// The upper of a VM with --upper disk: an ext4 that the guest has written. Follows the
// kernel's Documentation/filesystems/ext4 and, for what is where on it, guest-init/guest_upper.cc.
#include <sys/sysmacros.h>

#include <algorithm>
#include <functional>

#include "oci-mount/base/bytes.h"
#include "oci-mount/base/device_number.h"
#include "oci-mount/base/ext2fs_library.h"
#include "oci-mount/base/printable.h"
#include "oci-mount/mount/disk_reader.h"
#include "oci-mount/mount/upper_files.h"
#include "oci-mount/overlay/marks.h"

namespace layerboot::mount {

namespace {

using overlay::Keeping;

// What the kernel's overlayfs writes is in trusted.*, as on a native upper.
constexpr const overlay::Marks& kMarks = overlay::kNativeMarks;

timespec time_of(std::uint32_t seconds, std::uint32_t extra) {
  timespec time{};
  // Two bits of an epoch, thirty of nanoseconds (inodes.rst, "Inode Timestamps").
  time.tv_sec = static_cast<std::int32_t>(seconds) + (static_cast<std::int64_t>(extra & 3U) << 32U);
  time.tv_nsec = std::min<std::uint32_t>(extra >> 2U, 999'999'999);
  return time;
}

bool is_known_type(mode_t mode) {
  return S_ISREG(mode) || S_ISDIR(mode) || S_ISLNK(mode) || S_ISCHR(mode) || S_ISBLK(mode) ||
         S_ISFIFO(mode) || S_ISSOCK(mode);
}

Result<struct stat> stat_of(ext2_ino_t number, const ext2_inode_large& inode) {
  struct stat st{};
  st.st_ino = number;
  st.st_mode = inode.i_mode;
  if (!is_known_type(st.st_mode)) return damaged_disk("an inode of no type");
  st.st_nlink = inode.i_links_count;
  st.st_uid = inode.i_uid | (static_cast<std::uint32_t>(inode.osd2.linux2.l_i_uid_high) << 16U);
  st.st_gid = inode.i_gid | (static_cast<std::uint32_t>(inode.osd2.linux2.l_i_gid_high) << 16U);
  st.st_size = static_cast<off_t>(inode.i_size | (static_cast<std::uint64_t>(inode.i_size_high) << 32U));
  if (st.st_size < 0) return damaged_disk("a file of a negative size");
  const std::size_t extra_end = offsetof(ext2_inode_large, i_mtime_extra) + sizeof(inode.i_mtime_extra);
  const bool has_extra = EXT2_GOOD_OLD_INODE_SIZE + std::size_t{inode.i_extra_isize} >= extra_end;
  st.st_mtim = time_of(inode.i_mtime, has_extra ? inode.i_mtime_extra : 0);
  if (S_ISCHR(st.st_mode) || S_ISBLK(st.st_mode)) {
    // The old form, of 16 bits, or else the new one (special.rst has neither; fs/ext4/inode.c).
    const std::uint32_t old_form = inode.i_block[0];
    st.st_rdev =
        old_form != 0 ? makedev((old_form >> 8U) & 0xffU, old_form & 0xffU) : decode_dev(inode.i_block[1]);
  }
  return st;
}

class DiskData final : public UpperData {
 public:
  DiskData(std::shared_ptr<DiskReader> disk, ext2_ino_t number) : disk_(std::move(disk)), number_(number) {}

  Result<std::size_t> read(std::uint64_t offset, std::span<std::byte> into) override {
    return disk_->read(number_, offset, into);
  }

 private:
  std::shared_ptr<DiskReader> disk_;
  ext2_ino_t number_;
};

enum class Part { kOverlay, kPlain };

class DiskObject final : public UpperObject {
 public:
  DiskObject(std::shared_ptr<DiskReader> disk, Part part, ext2_ino_t number, const struct stat& st,
             XattrList xattrs)
      : UpperObject(st), disk_(std::move(disk)), part_(part), number_(number), xattrs_(std::move(xattrs)) {}

  static Result<std::unique_ptr<UpperObject>> open(const std::shared_ptr<DiskReader>& disk, Part part,
                                                   ext2_ino_t number) {
    LB_ASSIGN(const ext2_inode_large inode, disk->inode(number));
    LB_ASSIGN(const struct stat st, stat_of(number, inode));
    LB_ASSIGN(XattrList xattrs, disk->xattrs(number));
    return std::make_unique<DiskObject>(disk, part, number, st, std::move(xattrs));
  }

  [[nodiscard]] Result<overlay::Nature> nature() const override {
    return overlay::Nature{
        .mode = st().st_mode, .uid = st().st_uid, .gid = st().st_gid, .rdev = encode_dev(st().st_rdev)};
  }
  [[nodiscard]] Result<XattrList> xattrs() const override {
    XattrList shown;
    for (const auto& [on_disk, value] : xattrs_) {
      const auto name = part_ == Part::kOverlay ? overlay::guest_xattr_name(Keeping::kNative, on_disk)
                                                : std::optional(on_disk);
      if (name && overlay::is_served_xattr(*name)) shown.emplace_back(*name, value);
    }
    return shown;
  }
  [[nodiscard]] Result<std::string> link_target() const override { return disk_->target(number_); }
  [[nodiscard]] Result<bool> is_opaque() const override {
    return part_ == Part::kPlain || find(kMarks.opaque) == "y";
  }
  [[nodiscard]] Result<std::optional<std::string>> redirect() const override {
    return part_ == Part::kPlain ? std::nullopt : find(kMarks.redirect);
  }
  [[nodiscard]] Result<overlay::DataSource> data_source(const overlay::MergedName& merged) const override {
    if (part_ == Part::kPlain || !find(kMarks.metacopy)) return overlay::DataSource{};
    return overlay::data_source_of_metacopy(merged, find(kMarks.redirect),
                                            static_cast<std::uint64_t>(st().st_size));
  }
  [[nodiscard]] Result<std::unique_ptr<UpperData>> open() const override {
    return std::make_unique<DiskData>(disk_, number_);
  }

 private:
  [[nodiscard]] std::optional<std::string> find(std::string_view name) const {
    const auto found = std::ranges::find(xattrs_, name, &XattrList::value_type::first);
    return found == xattrs_.end() ? std::nullopt : std::optional(found->second);
  }

  std::shared_ptr<DiskReader> disk_;
  Part part_;
  ext2_ino_t number_;
  XattrList xattrs_;
};

class DiskDirectory final : public UpperDirectory {
 public:
  static Result<std::unique_ptr<DiskDirectory>> open(std::shared_ptr<DiskReader> disk, Part part,
                                                     ext2_ino_t number) {
    LB_ASSIGN(const ext2_inode_large inode, disk->inode(number));
    if (!S_ISDIR(inode.i_mode)) return fail(ENOTDIR);
    auto directory = std::make_unique<DiskDirectory>(std::move(disk), part, number);
    LB_ASSIGN(const auto names, directory->disk_->names(number));
    for (const auto& name : names) {
      if (!directory->take(name)) return damaged_disk("a name that can be none");
    }
    return directory;
  }
  DiskDirectory(std::shared_ptr<DiskReader> disk, Part part, ext2_ino_t number)
      : disk_(std::move(disk)), part_(part), number_(number) {}

  [[nodiscard]] Result<std::vector<Entry>> entries() const override {
    std::vector<Entry> entries;
    for (const auto& [name, found] : children_) {
      Entry entry{.name = name, .is_whiteout = false};
      if (part_ == Part::kOverlay && found.may_be_whiteout) {
        LB_ASSIGN(const ext2_inode_large inode, disk_->inode(found.number));
        LB_ASSIGN(const struct stat st, stat_of(found.number, inode));
        entry.is_whiteout = overlay::is_whiteout(st);
      }
      entries.push_back(std::move(entry));
    }
    return entries;
  }
  [[nodiscard]] Result<std::unique_ptr<UpperObject>> itself() const override {
    return DiskObject::open(disk_, part_, number_);
  }
  [[nodiscard]] Result<std::unique_ptr<UpperObject>> object(const std::string& name) const override {
    LB_ASSIGN(const ext2_ino_t number, number_of(name));
    return DiskObject::open(disk_, part_, number);
  }
  [[nodiscard]] Result<std::unique_ptr<UpperDirectory>> enter(const std::string& name) const override {
    LB_ASSIGN(const ext2_ino_t number, number_of(name));
    return open(disk_, part_, number);
  }
  [[nodiscard]] bool is_empty() const { return children_.empty(); }
  [[nodiscard]] Result<ext2_ino_t> number_of(const std::string& name) const {
    const auto found = children_.find(name);
    if (found == children_.end()) return fail(ENOENT);
    return found->second.number;
  }

 private:
  struct Child {
    ext2_ino_t number = 0;
    bool may_be_whiteout = false;
  };

  bool take(const DiskReader::Name& found) {
    const std::string& name = found.name;
    if (name == "." || name == "..") return true;
    const bool is_name =
        !name.empty() && name.find('/') == std::string::npos && name.find('\0') == std::string::npos;
    const bool may_be_whiteout = found.type == EXT2_FT_CHRDEV || found.type == EXT2_FT_UNKNOWN;
    return is_name && children_.try_emplace(name, Child{found.inode, may_be_whiteout}).second;
  }

  std::shared_ptr<DiskReader> disk_;
  Part part_;
  ext2_ino_t number_;
  std::map<std::string, Child> children_;
};

/// The path that a plain directory's name stands for; nothing where it is none (guest-init/guest_upper.cc).
std::optional<std::string> path_of(std::string_view name) {
  std::string path = "/";
  for (std::size_t i = 0; i < name.size(); ++i) {
    if (name[i] != '%') {
      path += name[i];
      continue;
    }
    if (++i == name.size() || (name[i] != '-' && name[i] != '%')) return std::nullopt;
    path += name[i] == '-' ? '/' : '%';
  }
  return path;
}

}  // namespace

Result<SeenUpper> disk_upper(const std::filesystem::path& disk) {
  LB_ASSIGN(const std::shared_ptr<DiskReader> reader, DiskReader::open(disk));
  LB_ASSIGN(const auto top, DiskDirectory::open(reader, Part::kPlain, EXT2_ROOT_INO));
  SeenUpper upper;
  upper.is_disk = true;
  const auto root = top->number_of("upper");
  if (!root) return fail(EINVAL, disk.string(), " has no directory \"upper\": no guest has written to it");
  LB_ASSIGN(upper.root, DiskDirectory::open(reader, Part::kOverlay, *root));
  const auto plain = top->number_of("plain");
  if (!plain) return upper;
  LB_ASSIGN(const auto all_plain, DiskDirectory::open(reader, Part::kPlain, *plain));
  LB_ASSIGN(const auto names, all_plain->entries());
  for (const auto& entry : names) {
    LB_ASSIGN(const ext2_ino_t number, all_plain->number_of(entry.name));
    const auto path = path_of(entry.name);
    if (!path) continue;
    LB_ASSIGN(auto directory, DiskDirectory::open(reader, Part::kPlain, number));
    // Nothing was written there: the root's own directory of that path says as much.
    if (!directory->is_empty()) upper.plain.emplace(*path, std::move(directory));
  }
  return upper;
}

}  // namespace layerboot::mount
