#include "launcher/disk/disk_root.h"

#include <sys/stat.h>
#include <sys/xattr.h>

#include <algorithm>
#include <cstdio>
#include <string_view>

#include "launcher/host/run_tool.h"
#include "oci-mount/base/bytes.h"
#include "oci-mount/base/files.h"

namespace layerboot::launcher {

namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMaxXattrBytes = 64 * 1024;  // XATTR_SIZE_MAX, XATTR_LIST_MAX

Result<fs::path> write_small(const fs::path& path, std::string_view text) {
  LB_ASSIGN(AtomicFile file, AtomicFile::create(path, 0600));
  LB_TRY(file.append(as_bytes(text)));
  LB_TRY(file.commit());
  return path;
}

/// A name that debugfs's command line can carry.
bool is_plain(std::string_view name) {
  return std::ranges::none_of(name, [](char c) { return c <= ' ' || c == '"' || c == '\\' || c == 0x7f; });
}

/// debugfs's commands for the xattrs; each value goes by way of a file, since it may be any bytes.
Result<std::string> xattr_commands(const fs::path& from, const fs::path& work) {
  std::string names(kMaxXattrBytes, '\0');
  const ssize_t length = ::llistxattr(from.c_str(), names.data(), names.size());
  if (length < 0) return errno_error("cannot list the xattrs of ", from.string());
  std::string commands;
  unsigned count = 0;
  std::string_view rest(names.data(), static_cast<std::size_t>(length));
  while (!rest.empty()) {
    const std::string name(rest.substr(0, rest.find('\0')));
    rest.remove_prefix(name.size() + 1);
    std::string value(kMaxXattrBytes, '\0');
    const ssize_t size = ::lgetxattr(from.c_str(), name.c_str(), value.data(), value.size());
    if (size < 0) return errno_error("cannot read ", name, " of ", from.string());
    if (!is_plain(name)) return fail(EINVAL, "the image's root has an xattr with an odd name: ", name);
    value.resize(static_cast<std::size_t>(size));
    LB_ASSIGN(const fs::path file, write_small(work / str_cat("xattr-", count++), value));
    commands += str_cat("ea_set -f \"", file.string(), "\" / ", name, "\n");
  }
  return commands;
}

}  // namespace

Result<void> copy_root_attributes(const fs::path& from, const fs::path& disk, const fs::path& work) {
  struct stat st{};
  if (::lstat(from.c_str(), &st) != 0) return errno_error(from.string());
  char mode[16];
  std::snprintf(mode, sizeof(mode), "0%o", st.st_mode);
  LB_ASSIGN(std::string commands, xattr_commands(from, work));
  commands += str_cat("set_inode_field / mode ", mode, "\nset_inode_field / uid ", st.st_uid,
                      "\nset_inode_field / gid ", st.st_gid, "\nset_inode_field / mtime @",
                      std::max<long>(st.st_mtim.tv_sec, 0), "\n");
  LB_ASSIGN(const fs::path script, write_small(work / "debugfs", commands));
  LB_TRY(run_tool({"debugfs", "-w", "-f", script.string(), disk.string()}));
  return {};
}

}  // namespace layerboot::launcher
