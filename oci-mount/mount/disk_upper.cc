// The upper of a VM with --upper disk: an ext4 that the guest has written, read by libext2fs. Follows the
// kernel's Documentation/filesystems/ext4 and, for what is where on it, guest-init/guest_upper.cc.
#include <ext2fs/ext2fs.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <array>
#include <bit>
#include <climits>
#include <cstring>
#include <functional>

#include "oci-mount/base/bytes.h"
#include "oci-mount/base/device_number.h"
#include "oci-mount/base/printable.h"
#include "oci-mount/mount/upper_files.h"
#include "oci-mount/overlay/marks.h"

namespace layerboot::mount {

namespace {

using overlay::Keeping;

// What the kernel's overlayfs writes is in trusted.*, as on a native upper.
constexpr const overlay::Marks& kMarks = overlay::kNativeMarks;
/// s_start of the journal's own super block (journal.rst): 0 when there is nothing in it.
constexpr std::size_t kJournalStartOffset = 0x1c;
constexpr std::uint32_t kJournalMagic = 0xc03b3998;

std::unexpected<Error> damaged(std::string_view what) {
  return fail(EUCLEAN, "the disk's file system is damaged (", what, "): 'e2fsck -f' repairs it");
}
std::unexpected<Error> ext2_error(errcode_t code, std::string_view what) {
  if (code > 0 && code < ENOTSUP * 2) return fail(static_cast<int>(code), what);
  return fail(EUCLEAN, what, ": ", ::error_message(code));
}

Result<std::size_t> read_at(ext2_file_t file, std::uint64_t offset, std::span<std::byte> into) {
  unsigned got = 0;
  auto code = ::ext2fs_file_llseek(file, offset, EXT2_SEEK_SET, nullptr);
  if (code == 0) code = ::ext2fs_file_read(file, into.data(), static_cast<unsigned>(into.size()), &got);
  if (code != 0) return ext2_error(code, "reading a file");
  return got;
}

/// Used by one thread.
class Ext4 {
 public:
  static Result<std::shared_ptr<Ext4>> open(const std::filesystem::path& disk) {
    ::initialize_ext2_error_table();
    auto fs = std::make_shared<Ext4>();
    const auto code =
        ::ext2fs_open2(disk.c_str(), nullptr, EXT2_FLAG_64BITS, 0, 0, unix_io_manager, &fs->handle_);
    if (code != 0) return ext2_error(code, disk.string());
    LB_TRY(fs->check_is_settled(disk));
    return fs;
  }
  Ext4() = default;
  Ext4(const Ext4&) = delete;
  Ext4& operator=(const Ext4&) = delete;
  ~Ext4() {
    if (handle_ != nullptr) ::ext2fs_free(handle_);
  }

  [[nodiscard]] ext2_filsys handle() const { return handle_; }

  [[nodiscard]] Result<ext2_inode_large> inode(ext2_ino_t number) const {
    ext2_inode_large inode{};
    if (const auto code =
            ::ext2fs_read_inode_full(handle_, number, reinterpret_cast<ext2_inode*>(&inode), sizeof(inode));
        code != 0)
      return ext2_error(code, "reading an inode");
    return inode;
  }

  /// The whole of what is small, such as a symlink's target.
  [[nodiscard]] Result<std::size_t> read(ext2_ino_t number, std::uint64_t offset,
                                         std::span<std::byte> into) const {
    ext2_file_t file = nullptr;
    const auto code = ::ext2fs_file_open(handle_, number, 0, &file);
    if (code != 0) return ext2_error(code, "opening a file");
    auto got = read_at(file, offset, into);
    ::ext2fs_file_close(file);
    return got;
  }

 private:
  /// The journal is replayed by whoever may write to the disk, which is not us.
  [[nodiscard]] Result<void> check_is_settled(const std::filesystem::path& disk) const {
    const auto refused = [&disk](const char* why) {
      return fail(EUCLEAN, disk.string(), " ", why, ": 'e2fsck -p ", disk.string(),
                  "' first, while no VM has it");
    };
    if ((handle_->super->s_state & EXT2_ERROR_FS) != 0) return refused("says that it is damaged");
    if (ext2fs_has_feature_journal_needs_recovery(handle_->super) == 0) return {};
    std::array<std::byte, kJournalStartOffset + 4> header{};
    LB_ASSIGN(const std::size_t got, read(handle_->super->s_journal_inum, 0, header));
    const auto word = [&header](std::size_t at) {
      std::uint32_t value = 0;
      std::memcpy(&value, header.data() + at, sizeof value);
      return std::endian::native == std::endian::little ? __builtin_bswap32(value) : value;
    };
    if (got != header.size() || word(0) != kJournalMagic) return refused("has a damaged journal");
    if (word(kJournalStartOffset) != 0) return refused("has a journal that is to be replayed");
    return {};
  }

  ext2_filsys handle_ = nullptr;
};

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
  if (!is_known_type(st.st_mode)) return damaged("an inode of no type");
  st.st_nlink = inode.i_links_count;
  st.st_uid = inode.i_uid | (static_cast<std::uint32_t>(inode.osd2.linux2.l_i_uid_high) << 16U);
  st.st_gid = inode.i_gid | (static_cast<std::uint32_t>(inode.osd2.linux2.l_i_gid_high) << 16U);
  st.st_size = static_cast<off_t>(inode.i_size | (static_cast<std::uint64_t>(inode.i_size_high) << 32U));
  if (st.st_size < 0) return damaged("a file of a negative size");
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
  static Result<std::unique_ptr<UpperData>> open(std::shared_ptr<const Ext4> fs, ext2_ino_t number) {
    auto data = std::make_unique<DiskData>(std::move(fs));
    const auto code = ::ext2fs_file_open(data->fs_->handle(), number, 0, &data->file_);
    if (code != 0) return ext2_error(code, "opening a file");
    return data;
  }
  explicit DiskData(std::shared_ptr<const Ext4> fs) : fs_(std::move(fs)) {}
  DiskData(const DiskData&) = delete;
  DiskData& operator=(const DiskData&) = delete;
  ~DiskData() override {
    if (file_ != nullptr) ::ext2fs_file_close(file_);
  }

  Result<std::size_t> read(std::uint64_t offset, std::span<std::byte> into) override {
    return read_at(file_, offset, into);
  }

 private:
  std::shared_ptr<const Ext4> fs_;
  ext2_file_t file_ = nullptr;
};

/// Of one inode, as they are on the disk.
Result<XattrList> read_xattrs(const Ext4& fs, ext2_ino_t number) {
  ext2_xattr_handle* handle = nullptr;
  auto code = ::ext2fs_xattrs_open(fs.handle(), number, &handle);
  if (code == 0) code = ::ext2fs_xattrs_read(handle);
  std::vector<std::string> names;
  if (code == 0) {
    const auto take = [](char* name, char*, std::size_t, void* into) {
      static_cast<std::vector<std::string>*>(into)->emplace_back(name);
      return 0;
    };
    code = ::ext2fs_xattrs_iterate(handle, take, &names);
  }
  XattrList xattrs;
  for (const std::string& name : names) {
    if (code != 0) break;
    void* value = nullptr;  // of an ACL in the form of the system calls
    std::size_t size_bytes = 0;
    code = ::ext2fs_xattr_get(handle, name.c_str(), &value, &size_bytes);
    if (code == 0) xattrs.emplace_back(name, std::string(static_cast<const char*>(value), size_bytes));
    if (value != nullptr) ::ext2fs_free_mem(&value);
  }
  if (handle != nullptr) ::ext2fs_xattrs_close(&handle);
  if (code != 0) return ext2_error(code, "reading extended attributes");
  return xattrs;
}

enum class Part { kOverlay, kPlain };

class DiskObject final : public UpperObject {
 public:
  DiskObject(std::shared_ptr<const Ext4> fs, Part part, ext2_ino_t number, const ext2_inode_large& inode,
             const struct stat& st, XattrList xattrs)
      : UpperObject(st),
        fs_(std::move(fs)),
        part_(part),
        number_(number),
        inode_(inode),
        xattrs_(std::move(xattrs)) {}

  static Result<std::unique_ptr<UpperObject>> open(const std::shared_ptr<const Ext4>& fs, Part part,
                                                   ext2_ino_t number) {
    LB_ASSIGN(const ext2_inode_large inode, fs->inode(number));
    LB_ASSIGN(const struct stat st, stat_of(number, inode));
    LB_ASSIGN(XattrList xattrs, read_xattrs(*fs, number));
    return std::make_unique<DiskObject>(fs, part, number, inode, st, std::move(xattrs));
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
  [[nodiscard]] Result<std::string> link_target() const override {
    const auto length = static_cast<std::size_t>(st().st_size);
    if (length >= PATH_MAX) return damaged("a symlink that is too long");
    auto small = inode_;
    if (::ext2fs_is_fast_symlink(reinterpret_cast<ext2_inode*>(&small)) != 0) {
      if (length > sizeof inode_.i_block) return damaged("a symlink that is too long for its place");
      return std::string(reinterpret_cast<const char*>(inode_.i_block), length);
    }
    std::string target(length, '\0');
    LB_ASSIGN(const std::size_t got, fs_->read(number_, 0, std::as_writable_bytes(std::span(target))));
    if (got != length) return damaged("a symlink without its target");
    return target;
  }
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
    return DiskData::open(fs_, number_);
  }

 private:
  [[nodiscard]] std::optional<std::string> find(std::string_view name) const {
    const auto found = std::ranges::find(xattrs_, name, &XattrList::value_type::first);
    return found == xattrs_.end() ? std::nullopt : std::optional(found->second);
  }

  std::shared_ptr<const Ext4> fs_;
  Part part_;
  ext2_ino_t number_;
  ext2_inode_large inode_;
  XattrList xattrs_;
};

class DiskDirectory final : public UpperDirectory {
 public:
  static Result<std::unique_ptr<DiskDirectory>> open(std::shared_ptr<const Ext4> fs, Part part,
                                                     ext2_ino_t number) {
    LB_ASSIGN(const ext2_inode_large inode, fs->inode(number));
    if (!S_ISDIR(inode.i_mode)) return fail(ENOTDIR);
    auto directory = std::make_unique<DiskDirectory>(std::move(fs), part, number);
    const auto code =
        ::ext2fs_dir_iterate2(directory->fs_->handle(), number, 0, nullptr, take_name, directory.get());
    if (code != 0) return ext2_error(code, "reading a directory");
    if (!directory->names_are_good_) return damaged("a name that can be none");
    return directory;
  }
  DiskDirectory(std::shared_ptr<const Ext4> fs, Part part, ext2_ino_t number)
      : fs_(std::move(fs)), part_(part), number_(number) {}

  [[nodiscard]] Result<std::vector<Entry>> entries() const override {
    std::vector<Entry> entries;
    for (const auto& [name, found] : children_) {
      Entry entry{.name = name, .is_whiteout = false};
      if (part_ == Part::kOverlay && found.may_be_whiteout) {
        LB_ASSIGN(const ext2_inode_large inode, fs_->inode(found.number));
        LB_ASSIGN(const struct stat st, stat_of(found.number, inode));
        entry.is_whiteout = overlay::is_whiteout(st);
      }
      entries.push_back(std::move(entry));
    }
    return entries;
  }
  [[nodiscard]] Result<std::unique_ptr<UpperObject>> itself() const override {
    return DiskObject::open(fs_, part_, number_);
  }
  [[nodiscard]] Result<std::unique_ptr<UpperObject>> object(const std::string& name) const override {
    LB_ASSIGN(const ext2_ino_t number, number_of(name));
    return DiskObject::open(fs_, part_, number);
  }
  [[nodiscard]] Result<std::unique_ptr<UpperDirectory>> enter(const std::string& name) const override {
    LB_ASSIGN(const ext2_ino_t number, number_of(name));
    return open(fs_, part_, number);
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

  static int take_name(ext2_ino_t, int, ext2_dir_entry* entry, int, int, char*, void* into) {
    auto& directory = *static_cast<DiskDirectory*>(into);
    const std::string name(entry->name, static_cast<std::size_t>(::ext2fs_dirent_name_len(entry)));
    if (name == "." || name == "..") return 0;
    const bool is_name =
        !name.empty() && name.find('/') == std::string::npos && name.find('\0') == std::string::npos;
    const int type = ::ext2fs_dirent_file_type(entry);
    const bool may_be_whiteout = type == EXT2_FT_CHRDEV || type == EXT2_FT_UNKNOWN;
    const bool is_new = directory.children_.try_emplace(name, Child{entry->inode, may_be_whiteout}).second;
    if (is_name && is_new) return 0;
    directory.names_are_good_ = false;
    return DIRENT_ABORT;
  }

  std::shared_ptr<const Ext4> fs_;
  Part part_;
  ext2_ino_t number_;
  std::map<std::string, Child> children_;
  bool names_are_good_ = true;
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
  LB_ASSIGN(const std::shared_ptr<const Ext4> fs, Ext4::open(disk));
  LB_ASSIGN(const auto top, DiskDirectory::open(fs, Part::kPlain, EXT2_ROOT_INO));
  SeenUpper upper;
  const auto root = top->number_of("upper");
  if (!root) return fail(EINVAL, disk.string(), " has no directory \"upper\": no guest has written to it");
  LB_ASSIGN(upper.root, DiskDirectory::open(fs, Part::kOverlay, *root));
  const auto plain = top->number_of("plain");
  if (!plain) return upper;
  LB_ASSIGN(const auto all_plain, DiskDirectory::open(fs, Part::kPlain, *plain));
  LB_ASSIGN(const auto names, all_plain->entries());
  for (const auto& entry : names) {
    LB_ASSIGN(const ext2_ino_t number, all_plain->number_of(entry.name));
    const auto path = path_of(entry.name);
    if (!path) continue;
    LB_ASSIGN(auto directory, DiskDirectory::open(fs, Part::kPlain, number));
    // Nothing was written there: the root's own directory of that path says as much.
    if (!directory->is_empty()) upper.plain.emplace(*path, std::move(directory));
  }
  return upper;
}

}  // namespace layerboot::mount
