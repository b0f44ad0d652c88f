// FsDriver: a client of a FileSystem that speaks in paths, as a test wants to; and what a tree looks like as
// text.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "oci-mount/base/reactor.h"
#include "oci-mount/vfs/types.h"

namespace layerboot::test {

/// A whole tree: path to one line that says all about the object.
using Snapshot = std::map<std::string, std::string>;

/// What `ls -l` and more would say, of a directory of the host. Times are left out.
Snapshot snapshot_of_directory(const std::string& path);

/// Each operation gives 0 or an errno. Looks paths up component by component and gives the references back.
class FsDriver {
 public:
  explicit FsDriver(vfs::FileSystem& fs);

  vfs::FileSystem& fs;
  std::unique_ptr<Reactor> reactor;

  /// The node, with one reference that release() gives back; 0 where there is none.
  vfs::NodeId acquire(std::string_view path) { return find(path).value_or(0); }
  void release(vfs::NodeId node) { fs.forget(node, 1); }

  int create(std::string_view path, std::string_view content, std::uint32_t mode = 0644);
  int write(std::string_view path, std::uint64_t offset, std::string_view bytes,
            vfs::Writer writer = vfs::Writer::kPrivileged);
  int truncate(std::string_view path, std::uint64_t size_bytes);
  int mkdir(std::string_view path, std::uint32_t mode = 0755);
  int symlink(std::string_view path, std::string_view target);
  int mknod(std::string_view path, std::uint32_t mode, std::uint32_t rdev);
  int unlink(std::string_view path);
  int rmdir(std::string_view path);
  int link(std::string_view path, std::string_view new_path);
  int rename(std::string_view path, std::string_view new_path, std::uint32_t flags = 0);
  int setattr(std::string_view path, const vfs::AttrChange& change);
  int setxattr(std::string_view path, std::string_view name, std::string_view value);
  int removexattr(std::string_view path, std::string_view name);

  /// A nameless file of the root directory, given a name.
  int link_nameless(std::string_view path, std::uint32_t mode);

  /// What is there, or "error: …".
  std::string read(std::string_view path);
  std::string read_node(vfs::NodeId node);
  vfs::Attr attr(std::string_view path);
  /// Names in listing order, without "." and "..".
  std::vector<std::string> list(std::string_view path, bool with_nodes = true);
  Snapshot snapshot();

 private:
  Result<vfs::NodeId> find(std::string_view path);
  int at_parent(std::string_view path, const std::function<int(vfs::NodeId, std::string_view)>& operation);
  int at_node(std::string_view path, const std::function<int(vfs::NodeId)>& operation);
  void snapshot_into(vfs::NodeId directory, const std::string& path, Snapshot& out);
};

}  // namespace layerboot::test
