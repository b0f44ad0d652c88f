#include "oci-mount/mount/upper_files.h"

#include <fcntl.h>
#include <unistd.h>

#include <system_error>

#include "oci-mount/base/files.h"
#include "oci-mount/overlay/upper.h"
#include "oci-mount/overlay/upper_calls.h"

namespace layerboot::mount {

namespace {

namespace fs = std::filesystem;
using overlay::Keeping;
using overlay::Place;

constexpr std::size_t kMaxIdentityBytes = 4096;

class HostData final : public UpperData {
 public:
  explicit HostData(UniqueFd fd) : fd_(std::move(fd)) {}
  Result<std::size_t> read(std::uint64_t offset, std::span<std::byte> into) override {
    const ssize_t got = ::pread(fd_.get(), into.data(), into.size(), static_cast<off_t>(offset));
    if (got < 0) return fail(errno);
    return static_cast<std::size_t>(got);
  }

 private:
  UniqueFd fd_;
};

class HostObject final : public UpperObject {
 public:
  HostObject(Keeping keeping, int dir_fd, std::string name, const struct stat& st)
      : UpperObject(st), keeping_(keeping), dir_fd_(dir_fd), name_(std::move(name)) {}

  [[nodiscard]] Result<overlay::Nature> nature() const override {
    return overlay::nature_at(keeping_, place(), st());
  }
  [[nodiscard]] Result<XattrList> xattrs() const override {
    XattrList xattrs;
    LB_ASSIGN(const auto host_names, overlay::list_xattrs_at(place()));
    for (const std::string& host_name : host_names) {
      const auto name = overlay::guest_xattr_name(keeping_, host_name);
      if (!name) continue;
      LB_ASSIGN(auto value, overlay::get_xattr_at(place(), host_name));
      if (value) xattrs.emplace_back(*name, *std::move(value));
    }
    return xattrs;
  }
  [[nodiscard]] Result<std::string> link_target() const override {
    return overlay::link_target_at(keeping_, place());
  }
  [[nodiscard]] Result<bool> is_opaque() const override {
    LB_ASSIGN(const auto value, overlay::get_xattr_at(place(), marks().opaque));
    return value == "y";
  }
  [[nodiscard]] Result<std::optional<std::string>> redirect() const override {
    return overlay::get_xattr_at(place(), marks().redirect);
  }
  [[nodiscard]] Result<overlay::DataSource> data_source(const overlay::MergedName& merged) const override {
    return overlay::data_source_seen(merged, marks(), place(), st());
  }
  [[nodiscard]] Result<std::unique_ptr<UpperData>> open() const override {
    LB_ASSIGN(UniqueFd fd, overlay::open_to_read_at(place()));
    return std::make_unique<HostData>(std::move(fd));
  }

 private:
  [[nodiscard]] Place place() const { return {dir_fd_, name_.c_str()}; }
  [[nodiscard]] const overlay::Marks& marks() const { return overlay::marks_of(keeping_); }

  Keeping keeping_;
  int dir_fd_;
  std::string name_;  // "": the directory itself
};

class HostDirectory final : public UpperDirectory {
 public:
  HostDirectory(Keeping keeping, UniqueFd fd) : keeping_(keeping), fd_(std::move(fd)) {}

  [[nodiscard]] Result<std::vector<Entry>> entries() const override {
    std::vector<Entry> entries;
    LB_ASSIGN(auto listed, overlay::list_directory(fd_.get()));
    for (auto& entry : listed) {
      const auto st = overlay::stat_at({fd_.get(), entry.name.c_str()});
      if (!st) continue;  // gone since: the VM may be running
      entries.push_back({std::move(entry.name), overlay::is_whiteout(*st)});
    }
    return entries;
  }
  [[nodiscard]] Result<std::unique_ptr<UpperObject>> itself() const override { return object(""); }
  [[nodiscard]] Result<std::unique_ptr<UpperObject>> object(const std::string& name) const override {
    LB_ASSIGN(const struct stat st, overlay::stat_at({fd_.get(), name.c_str()}));
    return std::make_unique<HostObject>(keeping_, fd_.get(), name, st);
  }
  [[nodiscard]] Result<std::unique_ptr<UpperDirectory>> enter(const std::string& name) const override {
    LB_ASSIGN(UniqueFd fd, overlay::open_directory_at({fd_.get(), name.c_str()}));
    return std::make_unique<HostDirectory>(keeping_, std::move(fd));
  }

 private:
  Keeping keeping_;
  UniqueFd fd_;
};

Result<void> check_identity(const fs::path& path, std::string_view found, std::string_view wanted) {
  if (found == wanted) return {};
  return fail(EINVAL, "upper ", path.string(), " belongs to another image (", found, ")");
}

Result<SeenUpper> see_disk(const fs::path& disk, std::string_view image_identity) {
  const fs::path beside = fs::path(disk).replace_extension(".image");
  const auto identity = read_file(beside, kMaxIdentityBytes);
  if (!identity) {
    return fail(EINVAL, disk.string(), " is no VM's disk (there is no ", beside.string(),
                " that says which image it is of): give upper.raw of a VM's directory");
  }
  LB_TRY(check_identity(disk, std::string_view(*identity).substr(0, identity->find('\n')), image_identity));
  return disk_upper(disk);
}

}  // namespace

std::unique_ptr<UpperDirectory> host_upper(Keeping keeping, UniqueFd root) {
  return std::make_unique<HostDirectory>(keeping, std::move(root));
}

Result<SeenUpper> see_upper(const fs::path& path, std::string_view image_identity) {
  std::error_code ignored;
  if (fs::is_regular_file(path, ignored)) return see_disk(path, image_identity);
  const auto known = overlay::read_upper_identity(path);
  if (!known) {
    if (known.error().code != ENOENT) return std::unexpected(known.error());
    return fail(EINVAL, path.string(),
                " is no upper directory (it has no file \"image\"): give what --upper named, or a VM's disk");
  }
  LB_TRY(check_identity(path, known->image, image_identity));
  LB_ASSIGN(UniqueFd root, open_path(path / "upper", O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
  return SeenUpper{.root = host_upper(known->keeping, std::move(root)), .plain = {}, .is_disk = false};
}

}  // namespace layerboot::mount
