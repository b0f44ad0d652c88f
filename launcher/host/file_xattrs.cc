#include "launcher/host/file_xattrs.h"

#include <sys/xattr.h>

#include <cerrno>
#include <string_view>

namespace layerboot::launcher {

namespace {

constexpr std::size_t kMaxXattrBytes = std::size_t{64} * 1024;  // XATTR_SIZE_MAX, XATTR_LIST_MAX

}  // namespace

Result<FileXattrs> read_xattrs(const std::filesystem::path& path) {
  FileXattrs xattrs;
  const ssize_t needed = ::llistxattr(path.c_str(), nullptr, 0);
  if (needed == 0 || (needed < 0 && (errno == EOPNOTSUPP || errno == ENOSYS))) return xattrs;
  std::string names(kMaxXattrBytes, '\0');
  const ssize_t length = ::llistxattr(path.c_str(), names.data(), names.size());
  if (length < 0) return errno_error("cannot list its attributes");
  std::string value(kMaxXattrBytes, '\0');
  for (std::string_view rest(names.data(), static_cast<std::size_t>(length)); !rest.empty();) {
    std::string name(rest.substr(0, rest.find('\0')));
    rest.remove_prefix(name.size() + 1);
    const ssize_t size = ::lgetxattr(path.c_str(), name.c_str(), value.data(), value.size());
    if (size < 0) return errno_error("cannot read its attribute ", name);
    xattrs.emplace_back(std::move(name), value.substr(0, static_cast<std::size_t>(size)));
  }
  return xattrs;
}

}  // namespace layerboot::launcher
