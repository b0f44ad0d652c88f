#include "launcher/disk/disk_fill.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <map>
#include <system_error>
#include <utility>
#include <vector>

#include "launcher/disk/ext4_disk.h"
#include "launcher/disk/tree_xattrs.h"
#include "launcher/host/run_tool.h"
#include "oci-mount/base/bytes.h"
#include "oci-mount/base/files.h"
#include "oci-mount/base/printable.h"

namespace layerboot::launcher {

namespace {

namespace fs = std::filesystem;
using Inode = Ext4Disk::Inode;

constexpr std::string_view kLostAndFound = "lost+found";

class Filler {
 public:
  Filler(fs::path root, Ext4Disk& disk, const std::function<void(std::uint64_t)>& on_progress)
      : root_(std::move(root)), disk_(disk), on_progress_(on_progress) {}

  Result<void> run() {
    struct stat st{};
    if (::lstat(root_.c_str(), &st) != 0) return errno_error(root_.string());
    device_ = st.st_dev;
    LB_TRY(disk_.set_attributes(Ext4Disk::kRoot, st));
    LB_TRY(copy_xattrs(root_, Ext4Disk::kRoot));
    // A stack of our own: a tree may be deep.
    for (waiting_.push_back({root_, Ext4Disk::kRoot, Ext4Disk::kRoot}); !waiting_.empty();) {
      const Directory directory = std::move(waiting_.back());
      waiting_.pop_back();
      if (auto filled = fill(directory); !filled) return about(directory.path, std::move(filled));
    }
    for (const auto& [from, file] : files_of_several_names_)
      LB_TRY(disk_.set_link_count(file.inode, file.names));
    return {};
  }

 private:
  struct Directory {
    fs::path path;
    Inode inode = 0;
    Inode parent = 0;
  };
  struct LinkedFile {
    Inode inode = 0;
    std::uint64_t names = 0;
  };

  Result<void> about(const fs::path& path, Result<void> done) const {
    if (done || done.error().code == EINTR) return done;
    return while_doing(done.error(), "\"", printable(path.lexically_relative(root_).string()), "\"");
  }

  Result<void> fill(const Directory& directory) {
    std::vector<Ext4Disk::Name> names;
    std::error_code error;
    for (fs::directory_iterator at(directory.path, error), end; !error && at != end; at.increment(error)) {
      LB_TRY(InterruptScope::check());
      struct stat st{};
      if (::lstat(at->path().c_str(), &st) != 0) return errno_error(at->path().string());
      if (st.st_dev != device_) continue;
      Result<Inode> inode = put(at->path(), st, directory);
      if (!inode) return about(at->path(), std::unexpected(std::move(inode).error()));
      names.push_back({at->path().filename().string(), *inode, st.st_mode});
    }
    if (error) return fail(error.value(), "cannot be read: ", error.message());
    if (directory.inode == Ext4Disk::kRoot && !lost_and_found_taken_) {
      LB_ASSIGN(const Inode lost, disk_.lost_and_found());
      names.push_back({std::string(kLostAndFound), lost, S_IFDIR});
    }
    return disk_.write_directory(directory.inode, directory.parent, names);
  }

  /// What is at `path`, content and all; a directory's is put off.
  Result<Inode> put(const fs::path& path, const struct stat& st, const Directory& parent) {
    const bool linked = !S_ISDIR(st.st_mode) && st.st_nlink > 1;
    if (linked) {
      if (const auto known = files_of_several_names_.find(st.st_ino);
          known != files_of_several_names_.end()) {
        ++known->second.names;
        return known->second.inode;
      }
    }
    Inode inode = 0;
    if (parent.inode == Ext4Disk::kRoot && path.filename() == kLostAndFound) {
      lost_and_found_taken_ = true;
      LB_ASSIGN(inode, disk_.lost_and_found());
      LB_TRY(disk_.set_attributes(inode, st));
    } else {
      LB_ASSIGN(inode, disk_.add(st, parent.inode));
    }
    if (linked) files_of_several_names_[st.st_ino] = {inode, 1};
    LB_TRY(copy_xattrs(path, inode));
    if (S_ISDIR(st.st_mode)) waiting_.push_back({path, inode, parent.inode});
    if (S_ISREG(st.st_mode)) LB_TRY(copy_content(path, st, inode));
    if (S_ISLNK(st.st_mode)) {
      std::error_code error;
      const fs::path target = fs::read_symlink(path, error);
      if (error) return fail(error.value(), "cannot be read: ", error.message());
      LB_TRY(disk_.write_symlink(inode, target.string()));
    }
    return inode;
  }

  Result<void> copy_content(const fs::path& path, const struct stat& st, Inode inode) {
    if (st.st_size == 0) return {};
    LB_ASSIGN(const UniqueFd fd, open_path(path, O_RDONLY | O_NOFOLLOW));
    return disk_.write_file(inode, fd.get(), static_cast<std::uint64_t>(st.st_size),
                            [this](std::uint64_t size_bytes) {
                              done_bytes_ += size_bytes;
                              on_progress_(done_bytes_);
                              return InterruptScope::check();
                            });
  }

  Result<void> copy_xattrs(const fs::path& path, Inode inode) {
    LB_ASSIGN(const auto xattrs, read_xattrs(path));
    for (const auto& [name, value] : xattrs) LB_TRY(disk_.set_xattr(inode, name, as_bytes(value)));
    return {};
  }

  fs::path root_;
  Ext4Disk& disk_;
  const std::function<void(std::uint64_t)>& on_progress_;
  dev_t device_ = 0;
  std::vector<Directory> waiting_;
  std::map<ino_t, LinkedFile> files_of_several_names_;
  bool lost_and_found_taken_ = false;
  std::uint64_t done_bytes_ = 0;
};

}  // namespace

Result<void> fill_disk(const fs::path& tree, const fs::path& disk,
                       const std::function<void(std::uint64_t)>& on_progress) {
  LB_ASSIGN(Ext4Disk opened, Ext4Disk::open(disk));
  LB_TRY(Filler(tree, opened, on_progress).run());
  return opened.close();
}

}  // namespace layerboot::launcher
