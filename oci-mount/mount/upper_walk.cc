#include "oci-mount/mount/upper_walk.h"

#include <sys/stat.h>

#include <map>
#include <set>
#include <string>
#include <unordered_set>
#include <vector>

#include "oci-mount/base/path_rules.h"
#include "oci-mount/base/printable.h"
#include "oci-mount/mount/disk_messages.h"

namespace layerboot::mount {

namespace {

using tree::NodeId;

/// As deep as a path can be: a level is at least two bytes of it.
constexpr std::size_t kMaxDepth = 4096;

/// One directory on the way: what the image has there, and of what the VM's is made.
struct Level {
  NodeId image = tree::kNoNode;                 // the image's directory of this path, if there is one
  NodeId base = tree::kNoNode;                  // the same, where that is what it is compared with
  NodeId lower = tree::kNoNode;                 // the image's directory that shows through, if any
  std::shared_ptr<const UpperDirectory> upper;  // null: nothing was written here
  std::map<std::string, bool> upper_names;      // and whether they are whiteouts
  std::vector<std::string> names;               // all, sorted
  std::size_t next = 0;
  std::size_t path_length = 0;  // of its own path, with the '/' behind it
};

class Walk {
 public:
  Walk(const tree::Tree& tree, const SeenUpper& upper, UpperVisitor& visitor)
      : tree_(tree),
        paths_(tree, memory_),
        plain_(upper.plain),
        has_own_disk_(upper.is_disk),
        visitor_(visitor) {
    for (const auto& [path, directory] : plain_) {
      for (auto end = path.rfind('/'); end != 0 && end != std::string::npos; end = path.rfind('/', end - 1))
        lead_to_plain_.insert(path.substr(0, end));
    }
  }

  Result<void> run(const SeenUpper& upper, Compared compared, bool includes_top) {
    const NodeId base = compared == Compared::kWithImage ? tree::kRoot : tree::kNoNode;
    LB_ASSIGN(const auto top, upper.root->itself());
    LB_TRY(check_is_new(*top));
    if (includes_top) {
      LB_TRY(visitor_.take({.path = "/",
                            .name = {},
                            .base = base,
                            .row = tree::kRoot,
                            .directory = tree::kNoNode,
                            .in_upper = top.get(),
                            .hides_base = false}));
    }
    LB_TRY(enter(base, tree::kRoot, upper.root));
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
  /// Who writes a disk by hand can give a directory several names. Of n such there would be 2^n paths.
  Result<void> check_is_new(const UpperObject& directory) {
    if (!has_own_disk_ || met_.insert(directory.st().st_ino).second) return {};
    return damaged_disk(str_cat("a directory of two names, one of them ", printable(path_)));
  }

  Result<void> look(const Level& level, const std::string& name) {
    path_ += name;
    const NodeId base = child(level.base, name);
    if (const auto plain = plain_.find(path_); plain != plain_.end() && !visitor_.leaves_out(path_))
      return look_at_plain(name, base, plain->second);
    const auto written = level.upper_names.find(name);
    if (written == level.upper_names.end()) return look_at_lower(level, name, base);
    const bool is_removal = written->second;
    if (is_removal ? visitor_.leaves_out_removal(path_) : visitor_.leaves_out(path_))
      return look_at_left_out(level, name, base);
    if (is_removal) return base == tree::kNoNode ? Result<void>() : visitor_.take_removed(path_);
    return look_at_upper(level, name, base);
  }

  /// What was written here does not count: it is as the image has it, also in a directory that was made anew.
  Result<void> look_at_left_out(const Level& level, const std::string& name, NodeId base) {
    const bool is_hidden = child(level.lower, name) == tree::kNoNode;
    return look_at_image(is_hidden ? level.image : level.lower, name, base);
  }

  /// Nothing was written here: what shows through is the image's own, of this place or of another.
  Result<void> look_at_lower(const Level& level, const std::string& name, NodeId base) {
    return look_at_image(level.lower, name, base);
  }

  Result<void> look_at_image(NodeId directory, const std::string& name, NodeId base) {
    if (visitor_.drops(path_)) return {};
    const NodeId lower = child(directory, name);
    const bool is_passed = lower == base && (base == tree::kNoNode || !visitor_.wants(path_));
    if (is_passed && !(is_directory(lower) && lead_to_plain_.contains(path_))) return {};
    if (lower == tree::kNoNode) return visitor_.take_removed(path_);
    Found found{.path = path_,
                .name = name,
                .base = base,
                .row = lower,
                .directory = directory,
                .in_upper = nullptr,
                .hides_base = false};
    return take_and_enter(found, lower, nullptr);
  }

  Result<void> look_at_plain(const std::string& name, NodeId base,
                             const std::shared_ptr<const UpperDirectory>& directory) {
    LB_ASSIGN(const auto object, directory->itself());
    LB_TRY(check_is_new(*object));
    Found found{.path = path_,
                .name = name,
                .base = base,
                .row = tree::kNoNode,
                .directory = tree::kNoNode,
                .in_upper = object.get(),
                .hides_base = false};
    return take_and_enter(found, tree::kNoNode, directory);
  }

  Result<void> look_at_upper(const Level& level, const std::string& name, NodeId base) {
    LB_ASSIGN(const auto object, level.upper->object(name));
    Found found{.path = path_,
                .name = name,
                .base = base,
                .row = tree::kNoNode,
                .directory = level.lower,
                .in_upper = object.get(),
                .hides_base = false};
    if (!S_ISDIR(object->st().st_mode)) return visitor_.take(found);
    LB_TRY(check_is_new(*object));
    LB_ASSIGN(const bool is_opaque, object->is_opaque());
    NodeId lower = tree::kNoNode;
    if (!is_opaque) {
      LB_ASSIGN(const auto redirect, object->redirect());
      LB_ASSIGN(lower, paths_.named(level.lower, name, redirect));
    }
    if (is_directory(lower)) found.row = lower;
    auto directory = level.upper->enter(name);
    if (!directory) return while_doing(directory.error(), printable(path_));
    return take_and_enter(found, found.row, *std::move(directory));
  }

  /// `lower`: what shows through, if it is a directory.
  Result<void> take_and_enter(Found& found, NodeId lower, std::shared_ptr<const UpperDirectory> upper) {
    NodeId base = is_directory(found.base) ? found.base : tree::kNoNode;
    const bool is_entered = upper || is_directory(lower);
    found.hides_base = base != tree::kNoNode && lower != base && is_entered && !tree_.entries(base).empty();
    if (found.hides_base && visitor_.knows_what_is_hidden()) base = tree::kNoNode;
    LB_TRY(visitor_.take(found));
    return is_entered ? enter(base, lower, std::move(upper)) : Result<void>();
  }

  /// path_ is the directory's.
  Result<void> enter(NodeId base, NodeId lower, std::shared_ptr<const UpperDirectory> upper) {
    if (levels_.size() >= kMaxDepth) return fail(ELOOP, path_, ": deeper than ", kMaxDepth, " directories");
    Level level;
    level.image = image_directory();
    if (path_.empty() || path_.back() != '/') path_ += '/';
    level.base = base;
    level.lower = lower;
    level.path_length = path_.size();
    std::set<std::string> names;
    for (const NodeId directory : {base, lower}) {
      if (directory == tree::kNoNode) continue;
      for (const auto& entry : tree_.entries(directory)) names.emplace(tree_.name(entry));
    }
    if (upper) {
      LB_ASSIGN(const auto entries, upper->entries());
      for (const auto& entry : entries) {
        level.upper_names.emplace(entry.name, entry.is_whiteout);
        names.insert(entry.name);
      }
    }
    level.upper = std::move(upper);
    level.names.assign(names.begin(), names.end());
    levels_.push_back(std::move(level));
    return {};
  }

  /// Of path_, in the last level's.
  [[nodiscard]] NodeId image_directory() const {
    if (levels_.empty()) return tree::kRoot;
    const NodeId found = child(levels_.back().image, std::string(last_component(path_)));
    return is_directory(found) ? found : tree::kNoNode;
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
  const std::map<std::string, std::shared_ptr<const UpperDirectory>, std::less<>>& plain_;
  std::set<std::string, std::less<>> lead_to_plain_;  // directories on the way
  const bool has_own_disk_;
  std::unordered_set<std::uint64_t> met_;  // the disk's directories, by inode
  UpperVisitor& visitor_;
  std::string path_;
  std::vector<Level> levels_;
};

}  // namespace

Result<void> walk_upper(const tree::Tree& tree, const SeenUpper& upper, Compared compared, bool includes_top,
                        UpperVisitor& visitor) {
  return Walk(tree, upper, visitor).run(upper, compared, includes_top);
}

}  // namespace layerboot::mount
