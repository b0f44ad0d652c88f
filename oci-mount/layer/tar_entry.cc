#include "oci-mount/layer/tar_entry.h"

#include <algorithm>
#include <limits>

#include "oci-mount/base/device_number.h"
#include "oci-mount/base/mode_bits.h"
#include "oci-mount/base/path_rules.h"
#include "oci-mount/base/printable.h"
#include "oci-mount/layer/limits.h"
#include "oci-mount/layer/whiteout_names.h"

namespace layerboot::layer {

namespace {

bool has_data(char type) { return type == '0' || type == '\0' || type == '7'; }

Result<EntryType> type_of(const TarHeader& header) {
  switch (header.type) {
    case '\0':
      return header.name.ends_with('/') ? EntryType::kDirectory : EntryType::kFile;
    case '0':
    case '7':
      return EntryType::kFile;
    case '1':
      return EntryType::kHardLink;
    case '2':
      return EntryType::kSymlink;
    case '3':
      return EntryType::kCharDevice;
    case '4':
      return EntryType::kBlockDevice;
    case '5':
      return EntryType::kDirectory;
    case '6':
      return EntryType::kFifo;
    default:
      return fail(ENOTSUP, "\"", printable(header.name), "\" is of the unknown tar type ",
                  static_cast<unsigned>(static_cast<unsigned char>(header.type)));
  }
}

/// What a path says by its name alone.
struct NameMeaning {
  bool hidden = false;  // nobody sees it
  std::optional<EntryType> mark;
  std::string path;
};

Result<NameMeaning> meaning_of(std::string path) {
  const auto slash = path.rfind('/');
  const std::string directory = slash == std::string::npos ? "" : path.substr(0, slash);
  const std::string_view base = std::string_view(path).substr(slash == std::string::npos ? 0 : slash + 1);
  // Nothing can be within a whiteout, and aufs's own directories (.wh..wh.plnk) are no part of an image.
  if (directory.starts_with(kWhiteoutPrefix) || directory.find("/.wh.") != std::string::npos)
    return NameMeaning{true, {}, std::move(path)};
  if (!base.starts_with(kWhiteoutPrefix)) return NameMeaning{false, {}, std::move(path)};
  if (base == kOpaqueName) return NameMeaning{false, EntryType::kOpaque, directory};
  if (base.starts_with(kMetaPrefix)) return NameMeaning{true, {}, std::move(path)};
  const auto name = base.substr(kWhiteoutPrefix.size());
  if (name.empty() || name == "." || name == "..") {
    return fail(EINVAL, "\"", printable(path), "\" is a whiteout that names nothing");
  }
  return NameMeaning{false, EntryType::kWhiteout,
                     directory.empty() ? std::string(name) : str_cat(directory, "/", name)};
}

/// As chown(2) takes it, which is what others unpack by: of 32 bits, and -1 leaves the owner who unpacks,
/// root.
std::uint32_t owner_id(std::int64_t id) {
  const auto taken = static_cast<std::uint32_t>(id);
  return taken == std::numeric_limits<std::uint32_t>::max() ? 0 : taken;
}

Result<void> fill_device(TarEntry& entry, const TarHeader& header) {
  if (header.device_major < 0 || header.device_major > kMaxDeviceMajor || header.device_minor < 0 ||
      header.device_minor > kMaxDeviceMinor) {
    return fail(EINVAL, "\"", printable(entry.path), "\" has the device number ", header.device_major, ":",
                header.device_minor, "; the limit is ", kMaxDeviceMajor, ":", kMaxDeviceMinor);
  }
  entry.rdev_major = static_cast<std::uint32_t>(header.device_major);
  entry.rdev_minor = static_cast<std::uint32_t>(header.device_minor);
  return {};
}

Result<void> fill_link(TarEntry& entry, const TarHeader& header) {
  if (entry.type == EntryType::kHardLink) {
    LB_ASSIGN(entry.link, clean_path(header.link));
    if (entry.link.empty()) return fail(EINVAL, "\"", printable(entry.path), "\" is a hard link to the root");
    return {};
  }
  if (header.link.empty() || header.link.size() > kMaxSymlinkBytes) {
    return fail(EINVAL, "\"", printable(entry.path), "\" is a symlink to a target of ", header.link.size(),
                " bytes; 1 to ", kMaxSymlinkBytes, " are the limit");
  }
  entry.link = header.link;
  entry.size_bytes = header.link.size();
  return {};
}

/// Whether an entry can't have this attribute. trusted.* is the host overlayfs's own business
/// (trusted.overlay.*), but for what says of itself that it is a guest's. Linux keeps user.* on files and
/// directories only, and no ACL on a symlink; others drop both.
bool is_dropped(EntryType type, std::string_view xattr) {
  if (xattr.starts_with(kTrustedPrefix)) return !xattr.starts_with(kOwnXattrPrefix);
  if (type == EntryType::kFile || type == EntryType::kDirectory) return false;
  return xattr.starts_with("user.") || (type == EntryType::kSymlink && xattr.starts_with("system."));
}

Result<void> fill_xattrs(TarEntry& entry, std::vector<std::pair<std::string, std::string>> xattrs) {
  std::size_t total_bytes = 0;
  for (auto& [name, value] : xattrs) {
    if (is_dropped(entry.type, name)) continue;
    total_bytes += name.size() + value.size();
    if (name.size() > kMaxXattrNameBytes) {
      return fail(EINVAL, "\"", printable(entry.path), "\" has an xattr whose name is over the limit of ",
                  kMaxXattrNameBytes, " bytes");
    }
    if (total_bytes > kMaxXattrBytes) {
      return fail(EINVAL, "\"", printable(entry.path), "\" has xattrs over the limit of ", kMaxXattrBytes,
                  " bytes");
    }
    entry.xattrs.emplace_back(std::move(name), std::move(value));
  }
  std::sort(entry.xattrs.begin(), entry.xattrs.end());
  return {};
}

}  // namespace

Result<std::string> clean_path(std::string_view name) {
  if (name.find('\0') != std::string_view::npos) return fail(EINVAL, "\"", printable(name), "\" holds a NUL");
  // Before "." and ".." are taken away: the work here is to be bounded too.
  if (name.size() > 2 * kMaxPathBytes) {
    return fail(EINVAL, "\"", printable(name), "\" is over the limit of ", kMaxPathBytes,
                " bytes for a path");
  }
  std::vector<std::string_view> parts;
  add_clean_parts(parts, name);
  for (std::size_t i = 0; i < parts.size(); ++i) {
    const std::string_view part = parts[i];
    // What a whiteout hides may have as long a name as any.
    const bool is_whiteout =
        i + 1 == parts.size() && part.starts_with(kWhiteoutPrefix) && !part.starts_with(kMetaPrefix);
    if (part.size() > kMaxNameBytes + (is_whiteout ? kWhiteoutPrefix.size() : 0)) {
      return fail(EINVAL, "\"", printable(part), "\" is over the limit of ", kMaxNameBytes,
                  " bytes for a name");
    }
  }
  if (parts.size() > kMaxPathDepth) {
    return fail(EINVAL, "\"", printable(parts.front()), "/\" is nested deeper than the limit of ",
                kMaxPathDepth);
  }
  std::string path = joined_path(parts);
  if (path.size() > kMaxPathBytes) {
    return fail(EINVAL, "\"", printable(path), "\" is over the limit of ", kMaxPathBytes,
                " bytes for a path");
  }
  return path;
}

Result<std::uint64_t> data_bytes(const TarHeader& header) {
  LB_ASSIGN(const std::uint64_t size_bytes, store::tar_data_bytes(header));
  if (size_bytes > kMaxStreamBytes) {
    return fail(EINVAL, "\"", printable(header.name), "\" has ", size_bytes, " bytes; a layer's limit is ",
                kMaxStreamBytes);
  }
  return size_bytes;
}

Result<std::optional<TarEntry>> make_entry(const TarHeader& header,
                                           std::vector<std::pair<std::string, std::string>> xattrs,
                                           std::uint64_t stream_offset) {
  TarEntry entry;
  LB_ASSIGN(std::string path, clean_path(header.name));
  LB_ASSIGN(NameMeaning meaning, meaning_of(std::move(path)));
  if (meaning.hidden && !has_data(header.type)) return std::optional<TarEntry>();
  entry.hidden = meaning.hidden;
  entry.path = std::move(meaning.path);
  // The name decides: a whiteout may be of any type (real images have them as hard links).
  if (meaning.mark) {
    entry.type = *meaning.mark;
    return std::optional(std::move(entry));
  }
  LB_ASSIGN(entry.type, type_of(header));
  // Of what is hidden, only a file is ever linked to.
  if (entry.hidden && entry.type != EntryType::kFile) return std::optional<TarEntry>();
  if (entry.path.empty() && entry.type != EntryType::kDirectory) {
    return fail(EINVAL, "\"", printable(header.name),
                "\" would replace the root directory by something else");
  }
  entry.mode = static_cast<std::uint32_t>(header.mode) & kPermissionBits;
  // A symlink has no mode of its own.
  if (entry.type == EntryType::kSymlink) entry.mode = 0777;
  entry.uid = owner_id(header.uid);
  entry.gid = owner_id(header.gid);
  entry.mtime_sec = header.mtime_sec;
  entry.mtime_nsec = header.mtime_nsec;
  LB_TRY(fill_xattrs(entry, std::move(xattrs)));
  if (entry.type == EntryType::kCharDevice || entry.type == EntryType::kBlockDevice)
    LB_TRY(fill_device(entry, header));
  if (entry.type == EntryType::kHardLink || entry.type == EntryType::kSymlink)
    LB_TRY(fill_link(entry, header));
  if (entry.type == EntryType::kFile && has_data(header.type)) {
    LB_ASSIGN(entry.size_bytes, data_bytes(header));
    if (entry.size_bytes != 0) entry.extents.push_back({0, stream_offset, entry.size_bytes});
  }
  return std::optional(std::move(entry));
}

}  // namespace layerboot::layer
