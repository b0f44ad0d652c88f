#include "oci-mount/mount/tar_stream.h"

#include <sys/stat.h>

#include <algorithm>
#include <string>
#include <unordered_map>
#include <vector>

#include "oci-mount/base/bytes.h"
#include "oci-mount/base/device_number.h"
#include "oci-mount/base/log.h"
#include "oci-mount/mount/output.h"
#include "oci-mount/store/pax_header.h"
#include "oci-mount/store/tar_header.h"

namespace layerboot::mount {

namespace {

constexpr std::size_t kBufferBytes = 1024 * 1024;

/// The output in large pieces: most members are smaller than a page.
class Output {
 public:
  explicit Output(int fd) : fd_(fd), buffer_(kBufferBytes) {}

  Result<void> put(std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
      LB_TRY(make_room());
      const auto piece = bytes.first(std::min(bytes.size(), buffer_.size() - filled_));
      std::copy(piece.begin(), piece.end(), buffer_.begin() + static_cast<std::ptrdiff_t>(filled_));
      filled_ += piece.size();
      bytes = bytes.subspan(piece.size());
    }
    return {};
  }
  Result<void> put_zeros(std::size_t count) { return put(as_bytes(std::string(count, '\0'))); }

  /// Room to read into, at least one byte; took() says how much of it was filled.
  Result<std::span<std::byte>> room() {
    LB_TRY(make_room());
    return std::span(buffer_).subspan(filled_);
  }
  void took(std::size_t count) { filled_ += count; }

  Result<void> flush() {
    LB_TRY(write_out(fd_, std::span(buffer_).first(filled_)));
    filled_ = 0;
    return {};
  }

 private:
  Result<void> make_room() { return filled_ < buffer_.size() ? Result<void>() : flush(); }

  int fd_;
  std::vector<std::byte> buffer_;
  std::size_t filled_ = 0;
};

class TarStream {
 public:
  TarStream(const overlay::Lower& lower, Reactor& reactor, int out_fd)
      : lower_(lower), tree_(lower.tree), reactor_(reactor), output_(out_fd) {}

  // Depth first without recursion: a tree may be a thousand directories deep.
  Result<void> run() {
    LB_TRY(add(tree::kRoot, "./"));
    struct Level {
      tree::NodeId directory;
      std::size_t next;
      std::size_t prefix_length;
    };
    std::string path;
    std::vector<Level> levels{{tree::kRoot, 0, 0}};
    while (!levels.empty()) {
      Level& level = levels.back();
      const auto entries = tree_.entries(level.directory);
      path.resize(level.prefix_length);
      if (level.next == entries.size()) {
        levels.pop_back();
        continue;
      }
      const tree::DirentRecord& entry = entries[level.next++];
      path += tree_.name(entry);
      const bool directory = S_ISDIR(tree_.node(entry.node).mode);
      if (directory) path += '/';
      LB_TRY(add(entry.node, path));
      if (directory) levels.push_back({entry.node, 0, path.size()});
    }
    LB_TRY(output_.put_zeros(store::kTarEndBytes));
    return output_.flush();
  }

 private:
  Result<void> add(tree::NodeId id, const std::string& path) {
    const tree::NodeRecord& node = tree_.node(id);
    if (S_ISSOCK(node.mode)) {
      log_warn("/", path, ": a socket, which a tar can't hold, is left out");
      return {};
    }
    store::PaxMember member;
    member.name = path;
    member.mode = node.mode;
    member.uid = node.uid;
    member.gid = node.gid;
    member.mtime_sec = node.mtime_sec;
    member.mtime_nsec = node.mtime_nsec;
    if (node.link_count != 0) {
      const auto [first, is_first] = first_names_.try_emplace(id, path);
      member.hard_link = !is_first;
      if (!is_first) member.link = first->second;
    }
    if (!member.hard_link) describe(id, node, path, member);
    LB_TRY(output_.put(as_bytes(store::pax_header(member))));
    if (member.size_bytes == 0) return {};
    LB_TRY(put_data(id, node.size_bytes, path));
    return output_.put_zeros(store::tar_padding(node.size_bytes));
  }

  void describe(tree::NodeId id, const tree::NodeRecord& node, std::string_view path,
                store::PaxMember& member) {
    if (S_ISREG(node.mode)) member.size_bytes = node.size_bytes;
    if (S_ISLNK(node.mode)) member.link = tree_.symlink_target(id);
    if (S_ISCHR(node.mode) || S_ISBLK(node.mode)) {
      member.device_major = major_of(node.rdev);
      member.device_minor = minor_of(node.rdev);
    }
    for (const tree::XattrRecord& xattr : tree_.xattrs(id)) {
      const std::string_view name = tree_.xattr_name(xattr);
      if (name.find('=') == std::string_view::npos) {
        member.xattrs.emplace_back(name, tree_.xattr_value(xattr));
      } else {
        log_warn("/", path, ": extended attribute ", name, ", which a tar can't hold, is left out");
      }
    }
  }

  Result<void> put_data(tree::NodeId id, std::uint64_t size_bytes, std::string_view path) {
    for (std::uint64_t offset = 0; offset < size_bytes;) {
      LB_ASSIGN(const auto room, output_.room());
      const iovec slice{room.data(),
                        static_cast<std::size_t>(std::min<std::uint64_t>(room.size(), size_bytes - offset))};
      const auto got = reactor_.block_on(lower_.read(reactor_, id, offset, std::span(&slice, 1)));
      if (!got) return while_doing(got.error(), "/", path);
      if (*got == 0) return fail(EIO, "/", path, ": ends before its size");
      output_.took(*got);
      offset += *got;
    }
    return {};
  }

  const overlay::Lower& lower_;
  const tree::Tree& tree_;
  Reactor& reactor_;
  Output output_;
  std::unordered_map<tree::NodeId, std::string> first_names_;  // of nodes with several
};

}  // namespace

Result<void> write_tar(const overlay::Lower& lower, Reactor& reactor, int out_fd) {
  return TarStream(lower, reactor, out_fd).run();
}

}  // namespace layerboot::mount
