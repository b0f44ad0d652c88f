// Every method of a FileSystem, called with one node; and the names that none may take.
#pragma once

#include <sys/stat.h>
#include <unistd.h>

#include <functional>
#include <string>
#include <vector>

#include "oci-mount/vfs/types.h"

namespace layerboot::test {

inline std::vector<std::string> bad_names() {
  return {"",
          ".",
          "..",
          "a/b",
          "/",
          "/etc",
          std::string("a\0b", 3),
          std::string("\0", 1),
          std::string(256, 'n'),
          std::string(5000, 'n')};
}

/// Calls each method with `node` wherever it takes one, `other` where a second is needed, and tells its errno
/// (0: it worked). What may be made has the name "every". Ends with what removes.
inline void for_every_method(vfs::FileSystem& fs, Reactor& ring, vfs::NodeId node, vfs::NodeId other,
                             const std::function<void(const char*, int)>& told) {
  const auto tell = [&](const char* method, const auto& result) {
    told(method, result ? 0 : result.error().code);
  };
  std::string bytes = "bytes";
  const iovec piece{bytes.data(), bytes.size()};
  const auto any = [](const vfs::Dirent&, const vfs::Entry&) { return true; };
  tell("lookup", fs.lookup(node, "every"));
  tell("getattr", fs.getattr(node));
  tell("readlink", fs.readlink(node));
  tell("readdir", fs.readdir(node, 0, false, any));
  tell("readdir", fs.readdir(node, 0, true, any));
  tell("readdir", fs.readdir(node, 1000, true, any));
  tell("try_read", fs.try_read(node, 0, {&piece, 1}));
  tell("read", ring.block_on(fs.read(ring, node, 0, {&piece, 1})));
  tell("lseek", fs.lseek(node, 0, SEEK_DATA));
  tell("getxattr", fs.getxattr(node, "user.every"));
  tell("listxattr", fs.listxattr(node));
  tell("fsync", ring.block_on(fs.fsync(ring, node, false)));
  tell("fsyncdir", ring.block_on(fs.fsyncdir(ring, node, true)));
  vfs::AttrChange mode;
  mode.mode = 0700;
  tell("setattr", ring.block_on(fs.setattr(ring, node, mode)));
  vfs::AttrChange size;
  size.size_bytes = 3;
  tell("setattr size", ring.block_on(fs.setattr(ring, node, size)));
  tell("write", ring.block_on(fs.write(ring, node, 0, {&piece, 1}, vfs::Writer::kUnprivileged)));
  tell("fallocate", ring.block_on(fs.fallocate(ring, node, 0, 0, 10)));
  tell("setxattr", ring.block_on(fs.setxattr(ring, node, "user.every", "x", 0)));
  tell("removexattr", ring.block_on(fs.removexattr(ring, node, "user.every")));
  tell("mknod", fs.mknod(node, "every-node", S_IFIFO | 0600, 0, {}));
  tell("mkdir", fs.mkdir(node, "every-directory", 0700, {}));
  tell("symlink", fs.symlink(node, "every-link", "target", {}));
  tell("create", fs.create(node, "every-file", 0600, true, {}));
  tell("create", fs.create(node, "every-file", 0600, false, {}));
  tell("tmpfile", fs.tmpfile(node, 0600, {}));
  tell("link", ring.block_on(fs.link(ring, node, node, "every-name")));
  tell("link to", ring.block_on(fs.link(ring, other, node, "every-other")));
  tell("rename", ring.block_on(fs.rename(ring, node, "every-file", node, "every-moved", 0)));
  tell("rename to", ring.block_on(fs.rename(ring, vfs::kRootId, "etc", node, "every-etc", 0)));
  tell("rmdir", fs.rmdir(node, "every-directory"));
  tell("unlink", fs.unlink(node, "every-moved"));
}

}  // namespace layerboot::test
