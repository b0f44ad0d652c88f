#include "tests/oci-mount/vfs/fs_driver.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <climits>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>
#include <sstream>
#include <vector>

namespace layerboot::test {

namespace {

template <typename T>
int code_of(const Result<T>& result) {
  return result ? 0 : result.error().code;
}

/// Size of a directory, its link count and its blocks are the host's business.
std::string line_for(std::uint32_t mode, std::uint32_t uid, std::uint32_t gid, std::uint32_t nlink,
                     std::uint64_t rdev, std::uint64_t size, const std::string& content,
                     const std::map<std::string, std::string>& xattrs) {
  std::ostringstream line;
  line << std::oct << mode << std::dec << " uid=" << uid << " gid=" << gid;
  if (!S_ISDIR(mode)) line << " nlink=" << nlink << " size=" << size;
  if (S_ISCHR(mode) || S_ISBLK(mode)) line << " rdev=" << rdev;
  if (S_ISREG(mode) || S_ISLNK(mode)) {
    line << " content="
         << (content.size() <= 40 ? content : std::to_string(std::hash<std::string>{}(content)));
  }
  for (const auto& [name, value] : xattrs) line << " " << name << "=" << value;
  return line.str();
}

std::map<std::string, std::string> host_xattrs(const std::string& path) {
  std::map<std::string, std::string> xattrs;
  std::string names(65536, '\0');
  const ssize_t length = ::llistxattr(path.c_str(), names.data(), names.size());
  std::istringstream rest(names.substr(0, static_cast<std::size_t>(std::max<ssize_t>(length, 0))));
  for (std::string name; std::getline(rest, name, '\0');) {
    std::string value(65536, '\0');
    if (name.starts_with("trusted.SGI_ACL_")) continue;  // XFS: an ACL's other name
    const ssize_t got = ::lgetxattr(path.c_str(), name.c_str(), value.data(), value.size());
    value.resize(static_cast<std::size_t>(std::max<ssize_t>(got, 0)));
    xattrs[name] = value;
  }
  return xattrs;
}

}  // namespace

Snapshot snapshot_of_directory(const std::string& root) {
  Snapshot out;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(root)) {
    const std::string path = entry.path().string();
    struct stat st{};
    if (::lstat(path.c_str(), &st) != 0) continue;
    std::string content;
    if (S_ISREG(st.st_mode)) {
      std::ifstream file(path, std::ios::binary);
      content.assign(std::istreambuf_iterator<char>(file), {});
    } else if (S_ISLNK(st.st_mode)) {
      content = std::filesystem::read_symlink(path).string();
    }
    out[path.substr(root.size())] =
        line_for(st.st_mode, st.st_uid, st.st_gid, static_cast<std::uint32_t>(st.st_nlink), st.st_rdev,
                 static_cast<std::uint64_t>(st.st_size), content, host_xattrs(path));
  }
  return out;
}

FsDriver::FsDriver(vfs::FileSystem& fs_in) : fs(fs_in) {
  auto made = Reactor::create();
  if (!made) std::abort();
  reactor = std::move(*made);
}

Result<vfs::NodeId> FsDriver::find(std::string_view path) {
  vfs::NodeId at = vfs::kRootId;
  while (!path.empty()) {
    const auto end = path.find('/');
    const auto part = path.substr(0, end);
    path.remove_prefix(end == std::string_view::npos ? path.size() : end + 1);
    if (part.empty()) continue;
    const auto found = fs.lookup(at, part);
    if (at != vfs::kRootId) fs.forget(at, 1);
    if (!found) return std::unexpected(found.error());
    if (found->id == 0) return fail(ENOENT);
    at = found->id;
  }
  return at;
}

int FsDriver::at_parent(std::string_view path,
                        const std::function<int(vfs::NodeId, std::string_view)>& operation) {
  const auto slash = path.rfind('/');  // none: the root's
  const auto parent = find(slash == std::string_view::npos ? std::string_view() : path.substr(0, slash));
  if (!parent) return parent.error().code;
  const auto attr = fs.getattr(*parent);
  const int code = attr && !S_ISDIR(attr->mode) ? ENOTDIR : operation(*parent, path.substr(slash + 1));
  if (*parent != vfs::kRootId) release(*parent);
  return code;
}

int FsDriver::at_node(std::string_view path, const std::function<int(vfs::NodeId)>& operation) {
  const auto node = find(path);
  if (!node) return node.error().code;
  const int code = operation(*node);
  if (*node != vfs::kRootId) release(*node);
  return code;
}

int FsDriver::create(std::string_view path, std::string_view content, std::uint32_t mode) {
  return at_parent(path, [&](vfs::NodeId parent, std::string_view name) {
    const auto made = fs.create(parent, name, mode, true, {});
    if (!made) return made.error().code;
    const iovec piece{const_cast<char*>(content.data()), content.size()};
    int code = 0;
    if (!content.empty())
      code =
          code_of(reactor->block_on(fs.write(*reactor, made->id, 0, {&piece, 1}, vfs::Writer::kPrivileged)));
    release(made->id);
    return code;
  });
}

int FsDriver::write(std::string_view path, std::uint64_t offset, std::string_view bytes, vfs::Writer writer) {
  return at_node(path, [&](vfs::NodeId node) {
    const iovec piece{const_cast<char*>(bytes.data()), bytes.size()};
    const auto put = reactor->block_on(fs.write(*reactor, node, offset, {&piece, 1}, writer));
    return put && *put != bytes.size() ? EIO : code_of(put);
  });
}

int FsDriver::truncate(std::string_view path, std::uint64_t size_bytes) {
  vfs::AttrChange change;
  change.size_bytes = size_bytes;
  return setattr(path, change);
}

int FsDriver::setattr(std::string_view path, const vfs::AttrChange& change) {
  return at_node(
      path, [&](vfs::NodeId node) { return code_of(reactor->block_on(fs.setattr(*reactor, node, change))); });
}

int FsDriver::mkdir(std::string_view path, std::uint32_t mode) {
  return at_parent(path, [&](vfs::NodeId parent, std::string_view name) {
    const auto made = fs.mkdir(parent, name, mode, {});
    if (made) release(made->id);
    return code_of(made);
  });
}

int FsDriver::symlink(std::string_view path, std::string_view target) {
  return at_parent(path, [&](vfs::NodeId parent, std::string_view name) {
    const auto made = fs.symlink(parent, name, target, {});
    if (made) release(made->id);
    return code_of(made);
  });
}

int FsDriver::mknod(std::string_view path, std::uint32_t mode, std::uint32_t rdev) {
  return at_parent(path, [&](vfs::NodeId parent, std::string_view name) {
    const auto made = fs.mknod(parent, name, mode, rdev, {});
    if (made) release(made->id);
    return code_of(made);
  });
}

int FsDriver::unlink(std::string_view path) {
  return at_parent(
      path, [&](vfs::NodeId parent, std::string_view name) { return code_of(fs.unlink(parent, name)); });
}

int FsDriver::rmdir(std::string_view path) {
  return at_parent(
      path, [&](vfs::NodeId parent, std::string_view name) { return code_of(fs.rmdir(parent, name)); });
}

int FsDriver::link(std::string_view path, std::string_view new_path) {
  return at_node(path, [&](vfs::NodeId node) {
    return at_parent(new_path, [&](vfs::NodeId parent, std::string_view name) {
      const auto made = reactor->block_on(fs.link(*reactor, node, parent, name));
      if (made) release(made->id);
      return code_of(made);
    });
  });
}

int FsDriver::rename(std::string_view path, std::string_view new_path, std::uint32_t flags) {
  return at_parent(path, [&](vfs::NodeId parent, std::string_view name) {
    return at_parent(new_path, [&](vfs::NodeId new_parent, std::string_view new_name) {
      return code_of(reactor->block_on(fs.rename(*reactor, parent, name, new_parent, new_name, flags)));
    });
  });
}

int FsDriver::setxattr(std::string_view path, std::string_view name, std::string_view value) {
  return at_node(path, [&](vfs::NodeId node) {
    return code_of(reactor->block_on(fs.setxattr(*reactor, node, name, value, 0)));
  });
}

int FsDriver::removexattr(std::string_view path, std::string_view name) {
  return at_node(path, [&](vfs::NodeId node) {
    return code_of(reactor->block_on(fs.removexattr(*reactor, node, name)));
  });
}

int FsDriver::link_nameless(std::string_view path, std::uint32_t mode) {
  const auto made = fs.tmpfile(vfs::kRootId, mode, {});
  if (!made) return made.error().code;
  const int code = at_parent(path, [&](vfs::NodeId parent, std::string_view name) {
    const auto linked = reactor->block_on(fs.link(*reactor, made->id, parent, name));
    if (linked) release(made->id);
    return code_of(linked);
  });
  release(made->id);
  return code;
}

std::string FsDriver::read_node(vfs::NodeId node) {
  std::string content;
  std::string piece(128 * 1024, '\0');
  for (;;) {
    const iovec into{piece.data(), piece.size()};
    auto got = fs.try_read(node, content.size(), {&into, 1});
    if (got && *got == vfs::FileSystem::kWouldWait) {
      const auto read = reactor->block_on(fs.read(*reactor, node, content.size(), {&into, 1}));
      got = read ? Result<std::int64_t>(static_cast<std::int64_t>(*read)) : std::unexpected(read.error());
    }
    if (!got) return "error: " + got.error().describe();
    if (*got == 0) return content;
    content.append(piece, 0, static_cast<std::size_t>(*got));
  }
}

std::string FsDriver::read(std::string_view path) {
  std::string content;
  const int code = at_node(path, [&](vfs::NodeId node) {
    content = read_node(node);
    return 0;
  });
  return code == 0 ? content : "error: " + std::to_string(code);
}

vfs::Attr FsDriver::attr(std::string_view path) {
  vfs::Attr attr;
  static_cast<void>(at_node(path, [&](vfs::NodeId node) {
    const auto got = fs.getattr(node);
    if (got) attr = *got;
    return code_of(got);
  }));
  return attr;
}

std::vector<std::string> FsDriver::list(std::string_view path, bool with_nodes) {
  // A small page, so that listings go on from cookies as they do for a real client.
  constexpr std::size_t kPageEntries = 3;
  std::vector<std::string> names;
  static_cast<void>(at_node(path, [&](vfs::NodeId node) {
    std::uint64_t cookie = 0;
    for (bool more = true; more;) {
      std::size_t taken = 0;
      std::vector<vfs::NodeId> nodes;
      more = false;
      const auto listed =
          fs.readdir(node, cookie, with_nodes, [&](const vfs::Dirent& dirent, const vfs::Entry& entry) {
            if (taken == kPageEntries) {
              more = true;
              return false;
            }
            ++taken;
            cookie = dirent.next_cookie;
            if (dirent.name != "." && dirent.name != "..") names.emplace_back(dirent.name);
            if (entry.id != 0) nodes.push_back(entry.id);
            return true;
          });
      for (const auto id : nodes) release(id);
      if (!listed) return listed.error().code;
    }
    return 0;
  }));
  return names;
}

void FsDriver::snapshot_into(vfs::NodeId directory, const std::string& path, Snapshot& out) {
  std::vector<std::pair<std::string, vfs::Entry>> entries;
  const auto listed = fs.readdir(directory, 0, true, [&](const vfs::Dirent& dirent, const vfs::Entry& entry) {
    if (dirent.name != "." && dirent.name != "..") entries.emplace_back(dirent.name, entry);
    return true;
  });
  if (!listed) out[path] = "error: " + listed.error().describe();
  for (const auto& [name, entry] : entries) {
    const auto& attr = entry.attr;
    std::string content;
    if (S_ISREG(attr.mode)) {
      content = read_node(entry.id);
      if (const auto synced = reactor->block_on(fs.fsync(*reactor, entry.id, true)); !synced)
        content = "not synced";
    }
    if (S_ISLNK(attr.mode)) content = fs.readlink(entry.id).value_or("error");
    std::map<std::string, std::string> xattrs;
    std::istringstream names(fs.listxattr(entry.id).value_or(""));
    for (std::string key; std::getline(names, key, '\0');)
      xattrs[key] = fs.getxattr(entry.id, key).value_or("error");
    std::string where = path + "/" + name;
    out[where] =
        line_for(attr.mode, attr.uid, attr.gid, attr.nlink, attr.rdev, attr.size_bytes, content, xattrs);
    if (S_ISDIR(attr.mode)) snapshot_into(entry.id, where, out);
    if (entry.id != 0) release(entry.id);
  }
}

Snapshot FsDriver::snapshot() {
  Snapshot out;
  snapshot_into(vfs::kRootId, "", out);
  return out;
}

}  // namespace layerboot::test
