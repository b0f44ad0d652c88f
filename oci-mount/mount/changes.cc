#include "oci-mount/mount/changes.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "oci-mount/base/files.h"
#include "oci-mount/overlay/lower_paths.h"
#include "oci-mount/overlay/marks.h"
#include "oci-mount/overlay/upper.h"

namespace layerboot::mount {

namespace {

using overlay::Place;
using tree::NodeId;

/// As deep as a path can be: a level is at least two bytes of it.
constexpr std::size_t kMaxDepth = 4096;

/// One directory on the way: what the image has there, and of what the VM's is made.
struct Level {
  NodeId base = tree::kNoNode;              // the image's directory of this path, if there is one
  NodeId lower = tree::kNoNode;             // the image's directory that shows through, if any
  UniqueFd upper;                           // empty: nothing was written here
  std::map<std::string, bool> upper_names;  // and whether they are whiteouts
  std::vector<std::string> names;           // all, sorted
  std::size_t next = 0;
  std::size_t path_length = 0;  // of its own path, with the '/' behind it
};

class ChangeWalk {
 public:
  ChangeWalk(const tree::Tree& tree, const overlay::Marks& marks, const TakeChange& take)
      : tree_(tree), paths_(tree, memory_), marks_(marks), take_(take) {}

  Result<void> run(UniqueFd root) {
    LB_TRY(enter(tree::kRoot, tree::kRoot, std::move(root)));
    while (!levels_.empty()) {
      Level& level = levels_.back();
      path_.resize(level.path_length);
      if (level.next == level.names.size()) {
        levels_.pop_back();
        continue;
      }
      const std::string name = level.names[level.next++];
      LB_TRY(look(level, name));
    }
    return {};
  }

 private:
  Result<void> look(Level& level, const std::string& name) {
    path_ += name;
    const NodeId base = child(level.base, name);
    const auto written = level.upper_names.find(name);
    if (written == level.upper_names.end()) return look_at_lower(base, child(level.lower, name));
    if (written->second) return base == tree::kNoNode ? Result<void>() : take_(Change::kDeleted, path_);
    return look_at_upper(level, name, base);
  }

  /// Nothing was written here: what shows through is the image's own, of this place or of another.
  Result<void> look_at_lower(NodeId base, NodeId lower) {
    if (lower == base) return {};
    if (lower == tree::kNoNode) return take_(Change::kDeleted, path_);
    LB_TRY(take_(base == tree::kNoNode ? Change::kAdded : Change::kChanged, path_));
    if (!is_directory(lower)) return {};
    return enter(is_directory(base) ? base : tree::kNoNode, lower, UniqueFd());
  }

  Result<void> look_at_upper(const Level& level, const std::string& name, NodeId base) {
    const Place place{level.upper.get(), name.c_str()};
    LB_ASSIGN(const struct stat st, overlay::stat_at(place));
    LB_TRY(take_(base == tree::kNoNode ? Change::kAdded : Change::kChanged, path_));
    if (!S_ISDIR(st.st_mode)) return {};
    LB_ASSIGN(const auto opaque, overlay::get_xattr_at(place, marks_.opaque));
    LB_ASSIGN(const auto redirect, overlay::get_xattr_at(place, marks_.redirect));
    NodeId lower = tree::kNoNode;
    if (opaque != "y") {
      LB_ASSIGN(lower, paths_.named(level.lower, name, redirect));
    }
    if (!is_directory(lower)) lower = tree::kNoNode;
    LB_ASSIGN(UniqueFd directory, overlay::open_directory_at(place));
    return enter(is_directory(base) ? base : tree::kNoNode, lower, std::move(directory));
  }

  /// path_ is the directory's.
  Result<void> enter(NodeId base, NodeId lower, UniqueFd upper) {
    if (levels_.size() >= kMaxDepth) return fail(ELOOP, path_, ": deeper than ", kMaxDepth, " directories");
    if (path_.empty() || path_.back() != '/') path_ += '/';
    Level level;
    level.base = base;
    level.lower = lower;
    level.path_length = path_.size();
    std::set<std::string> names;
    for (const NodeId directory : {base, lower}) {
      if (directory == tree::kNoNode) continue;
      for (const auto& entry : tree_.entries(directory)) names.emplace(tree_.name(entry));
    }
    if (upper) {
      LB_ASSIGN(const auto entries, overlay::list_directory(upper.get()));
      for (const auto& entry : entries) {
        const auto st = overlay::stat_at({upper.get(), entry.name.c_str()});
        if (!st) continue;  // gone since: the VM may be running
        level.upper_names.emplace(entry.name, overlay::is_whiteout(*st));
        names.insert(entry.name);
      }
    }
    level.upper = std::move(upper);
    level.names.assign(names.begin(), names.end());
    levels_.push_back(std::move(level));
    return {};
  }

  [[nodiscard]] NodeId child(NodeId directory, const std::string& name) const {
    return directory == tree::kNoNode ? tree::kNoNode : tree_.lookup(directory, name);
  }
  [[nodiscard]] bool is_directory(NodeId id) const {
    return id != tree::kNoNode && S_ISDIR(tree_.node(id).mode);
  }

  const tree::Tree& tree_;
  MemoryBudget memory_;
  overlay::LowerPaths paths_;
  const overlay::Marks& marks_;
  const TakeChange& take_;
  std::string path_;
  std::vector<Level> levels_;
};

}  // namespace

Result<void> list_changes(const tree::Tree& tree, std::string_view image_identity,
                          const std::filesystem::path& upper, const TakeChange& take) {
  const auto known = overlay::read_upper_identity(upper);
  if (!known) {
    if (known.error().code != ENOENT) return std::unexpected(known.error());
    return fail(EINVAL, upper.string(),
                " is no upper directory (it has no file \"image\"): give what --upper named, or a VM's disk");
  }
  if (known->image != image_identity) {
    return fail(EINVAL, "upper directory ", upper.string(), " belongs to another image (", known->image, ")");
  }
  LB_ASSIGN(UniqueFd root, open_path(upper / "upper", O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
  return ChangeWalk(tree, overlay::marks_of(known->keeping), take).run(std::move(root));
}

}  // namespace layerboot::mount
