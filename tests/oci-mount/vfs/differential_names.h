// KnownNames: what a client of a FileSystem keeps of names, as Linux's dcache does.
#pragma once

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <iterator>
#include <map>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "oci-mount/vfs/types.h"

namespace layerboot::test {

/// Each name that is known holds a reference to its node. Names are asked for once, and believed until the
/// client itself changes them.
class KnownNames {
 public:
  using Name = std::pair<vfs::NodeId, std::string>;  // in that directory

  explicit KnownNames(vfs::FileSystem& fs) : fs_(fs) {}
  ~KnownNames() { forget_all(); }
  KnownNames(const KnownNames&) = delete;
  KnownNames& operator=(const KnownNames&) = delete;

  /// A path's node, which stays known until names are forgotten. "" is the root.
  Result<vfs::NodeId> find(const std::string& path) {
    vfs::NodeId at = vfs::kRootId;
    std::istringstream parts(path.empty() ? "" : path.substr(1));
    for (std::string part; std::getline(parts, part, '/');) {
      LB_ASSIGN(at, step(at, part));
    }
    return at;
  }
  /// The directory of a path's last part, and that.
  Result<Name> split(const std::string& path) {
    const auto slash = path.rfind('/');
    LB_ASSIGN(const auto parent, find(path.substr(0, slash)));
    LB_ASSIGN(const auto attr, fs_.getattr(parent));
    if (!S_ISDIR(attr.mode)) return fail(ENOTDIR);
    return Name{parent, path.substr(slash + 1)};
  }
  Result<vfs::NodeId> step(vfs::NodeId parent, const std::string& name) {
    if (const auto known = names_.find({parent, name}); known != names_.end()) return known->second;
    const auto found = fs_.lookup(parent, name);
    if (!found) {
      const auto attr = fs_.getattr(parent);
      return attr && !S_ISDIR(attr->mode) ? fail(ENOTDIR) : std::unexpected(found.error());
    }
    if (found->id == 0) return fail(ENOENT);
    learn({parent, name}, found->id);
    return found->id;
  }

  /// Takes over a reference.
  void learn(const Name& name, vfs::NodeId node) {
    drop(name);
    names_[name] = node;
  }
  void drop(const Name& name) {
    const auto found = names_.find(name);
    if (found == names_.end()) return;
    fs_.forget(found->second, 1);
    names_.erase(found);
  }
  /// d_move() and d_exchange(), where both are known; else both are asked for anew.
  void rename(const Name& from, const Name& to, bool exchange) {
    const auto moved = names_.find(from);
    const auto other = names_.find(to);
    const bool knows_both = moved != names_.end() && other != names_.end();
    if (exchange && knows_both) return std::swap(moved->second, other->second);
    if (exchange || moved == names_.end() || (knows_both && other->second == moved->second)) {
      drop(from);
      return drop(to);
    }
    const auto node = moved->second;
    names_.erase(moved);
    learn(to, node);
  }

  /// Names and their types (DT_*), sorted; in pages, and every other page with nodes, which are known then.
  Result<std::vector<std::pair<std::string, std::uint32_t>>> list(vfs::NodeId directory) {
    constexpr std::size_t kPageEntries = 7;
    std::vector<std::pair<std::string, std::uint32_t>> entries;
    std::uint64_t cookie = 0;
    bool with_nodes = false;
    for (bool more = true; more; with_nodes = !with_nodes) {
      std::size_t taken = 0;
      std::vector<std::pair<std::string, vfs::NodeId>> given;
      more = false;
      const auto add = [&](const vfs::Dirent& dirent, const vfs::Entry& entry) {
        more = taken == kPageEntries;
        if (more) return false;
        ++taken;
        cookie = dirent.next_cookie;
        if (dirent.name == "." || dirent.name == "..") return true;
        entries.emplace_back(dirent.name, dirent.type);
        if (entry.id != 0) given.emplace_back(dirent.name, entry.id);
        return true;
      };
      const auto listed = fs_.readdir(directory, cookie, with_nodes, add);
      for (const auto& [name, id] : given) learn({directory, name}, id);
      if (!listed) return std::unexpected(listed.error());
    }
    std::ranges::sort(entries);
    return entries;
  }

  void forget_all() {
    for (const auto& [name, node] : names_) fs_.forget(node, 1);
    names_.clear();
  }
  /// Down to a bound: some from the middle, as good as any.
  void forget_some() {
    while (names_.size() > kMostNames) {
      drop(std::next(names_.begin(), static_cast<std::ptrdiff_t>(names_.size() / 3))->first);
    }
  }

 private:
  static constexpr std::size_t kMostNames = 160;

  vfs::FileSystem& fs_;
  std::map<Name, vfs::NodeId> names_;
};

}  // namespace layerboot::test
