#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>

#include "tests/process/vfsd_door.h"

namespace layerboot::test {

namespace {

template <typename T>
int outcome(const Result<T>& result) {
  return result ? 0 : result.error().code;
}

}  // namespace

/// Walks from the root, as a kernel with an empty cache does.
Result<std::uint64_t> GuestDoor::node(const std::string& path) {
  std::uint64_t id = FUSE_ROOT_ID;
  for (std::size_t start = 0; start < path.size();) {
    const std::size_t end = std::min(path.find('/', start), path.size());
    LB_ASSIGN(const auto entry, client_.lookup(id, path.substr(start, end - start)));
    if (entry.nodeid == 0) return fail(ENOENT);
    id = entry.nodeid;
    start = end + 1;
  }
  return id;
}

Result<GuestDoor::Place> GuestDoor::place(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  if (slash == std::string::npos) return Place{FUSE_ROOT_ID, path};
  LB_ASSIGN(const auto parent, node(path.substr(0, slash)));
  return Place{parent, path.substr(slash + 1)};
}

template <typename Operation>
int GuestDoor::on_node(const std::string& path, Operation operation) {
  const auto id = node(path);
  return id ? outcome(operation(*id)) : id.error().code;
}

template <typename Operation>
int GuestDoor::on_place(const std::string& path, Operation operation) {
  const auto where = place(path);
  return where ? outcome(operation(where->parent, where->name)) : where.error().code;
}

int GuestDoor::stat(const std::string& path, Stat& out) {
  return on_node(path, [&](std::uint64_t id) {
    const auto attr = client_.getattr(id);
    if (attr) {
      out = {attr->mode, attr->nlink, attr->uid,
             attr->ino,  attr->size,  static_cast<std::int64_t>(attr->mtime)};
    }
    return attr;
  });
}

int GuestDoor::create(const std::string& path, std::uint32_t mode, bool exclusive) {
  return on_place(path, [&](std::uint64_t parent, const std::string& name) {
    return client_.create(parent, name, S_IFREG | mode, exclusive ? O_EXCL : 0U);
  });
}

int GuestDoor::mkdir(const std::string& path, std::uint32_t mode) {
  return on_place(path, [&](auto parent, const auto& name) { return client_.mkdir(parent, name, mode); });
}

int GuestDoor::mkfifo(const std::string& path, std::uint32_t mode) {
  return on_place(
      path, [&](auto parent, const auto& name) { return client_.mknod(parent, name, S_IFIFO | mode, 0); });
}

int GuestDoor::symlink(const std::string& path, const std::string& target) {
  return on_place(path, [&](auto parent, const auto& name) { return client_.symlink(parent, name, target); });
}

int GuestDoor::readlink(const std::string& path, std::string& out) {
  return on_node(path, [&](auto id) {
    auto target = client_.readlink(id);
    if (target) out = *target;
    return target;
  });
}

int GuestDoor::link(const std::string& path, const std::string& new_path) {
  return on_node(path, [&](auto id) -> Result<fuse_entry_out> {
    LB_ASSIGN(const auto to, place(new_path));
    return client_.link(id, to.parent, to.name);
  });
}

int GuestDoor::unlink(const std::string& path) {
  return on_place(path, [&](auto parent, const auto& name) { return client_.unlink(parent, name); });
}

int GuestDoor::rmdir(const std::string& path) {
  return on_place(path, [&](auto parent, const auto& name) { return client_.rmdir(parent, name); });
}

int GuestDoor::rename(const std::string& path, const std::string& new_path, unsigned flags) {
  return on_place(path, [&](auto parent, const auto& name) -> Result<void> {
    LB_ASSIGN(const auto to, place(new_path));
    return client_.rename(parent, name, to.parent, to.name, flags);
  });
}

int GuestDoor::list(const std::string& path, std::set<std::string>& out) {
  return on_node(path, [&](auto id) {
    const auto listed = client_.readdirplus(id);
    out.clear();
    if (listed) {
      for (const auto& entry : *listed) {
        if (entry.name != "." && entry.name != "..") out.insert(entry.name);
      }
    }
    return listed;
  });
}

int GuestDoor::read(const std::string& path, std::uint64_t offset, std::size_t size, std::string& out) {
  return on_node(path, [&](auto id) -> Result<void> {
    out.clear();
    while (out.size() < size) {
      const auto part = static_cast<std::uint32_t>(std::min<std::size_t>(size - out.size(), 128U << 10));
      LB_ASSIGN(const auto data, client_.read(id, offset + out.size(), part));
      out += data;
      if (data.size() < part) break;
    }
    return {};
  });
}

int GuestDoor::write(const std::string& path, std::uint64_t offset, const std::string& data) {
  return on_node(path, [&](auto id) -> Result<void> {
    for (std::size_t done = 0; done < data.size();) {
      const std::size_t part = std::min<std::size_t>(data.size() - done, 1U << 20);
      LB_ASSIGN(const auto written,
                client_.write(id, offset + done, std::string_view(data).substr(done, part)));
      done += written;
    }
    return {};
  });
}

int GuestDoor::truncate(const std::string& path, std::uint64_t size_bytes) {
  fuse_setattr_in in{};
  in.valid = FATTR_SIZE;
  in.size = size_bytes;
  return on_node(path, [&](auto id) { return client_.setattr(id, in); });
}

int GuestDoor::chmod(const std::string& path, std::uint32_t mode) {
  fuse_setattr_in in{};
  in.valid = FATTR_MODE;
  in.mode = mode;
  return on_node(path, [&](auto id) { return client_.setattr(id, in); });
}

int GuestDoor::set_mtime(const std::string& path, std::int64_t seconds) {
  fuse_setattr_in in{};
  in.valid = FATTR_MTIME;
  in.mtime = static_cast<std::uint64_t>(seconds);
  return on_node(path, [&](auto id) { return client_.setattr(id, in); });
}

int GuestDoor::setxattr(const std::string& path, const std::string& name, const std::string& value) {
  return on_node(path, [&](auto id) { return client_.setxattr(id, name, value); });
}

int GuestDoor::getxattr(const std::string& path, const std::string& name, std::string& out) {
  return on_node(path, [&](auto id) {
    auto value = client_.getxattr(id, name);
    if (value) out = *value;
    return value;
  });
}

int GuestDoor::removexattr(const std::string& path, const std::string& name) {
  return on_node(path, [&](auto id) { return client_.removexattr(id, name); });
}

int GuestDoor::fallocate(const std::string& path, std::uint64_t offset, std::uint64_t length) {
  return on_node(path, [&](auto id) { return client_.fallocate(id, 0, offset, length); });
}

int GuestDoor::fsync(const std::string& path) {
  return on_node(path, [&](auto id) { return client_.fsync(id); });
}

}  // namespace layerboot::test
