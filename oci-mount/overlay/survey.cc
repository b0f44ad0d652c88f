#include "oci-mount/overlay/survey.h"

#include <unordered_set>
#include <utility>

#include "oci-mount/overlay/upper_calls.h"

namespace layerboot::overlay {

namespace {

/// A walk over directories of any depth, with one descriptor and no recursion: where it is, and what is left
/// to enter on each level above.
class Walk {
 public:
  static Result<Survey> over(Keeping keeping, int root_fd, const Tariff& tariff) {
    Walk walk(keeping, tariff);
    LB_ASSIGN(walk.here_, open_directory_at({root_fd, "."}));
    LB_ASSIGN(const auto root, stat_at({root_fd, ""}));
    LB_ASSIGN(const auto attributes, charge_of_attributes(tariff, {root_fd, "."}));
    walk.found_.usage.bytes = tariff.root(root) + attributes;
    LB_TRY(walk.look_around({}));
    while (!walk.levels_.empty()) LB_TRY(walk.step());
    return std::move(walk.found_);
  }

 private:
  Walk(Keeping keeping, const Tariff& tariff) : keeping_(keeping), tariff_(tariff) {}

  struct Level {
    std::string name;
    std::uint32_t way = 0;                 // its own in found_.moved_directories, from 1; 0: not there
    std::vector<std::string> directories;  // still to enter
  };

  Result<void> step() {
    Level& level = levels_.back();
    if (level.directories.empty()) {
      levels_.pop_back();
      if (levels_.empty()) return {};
      LB_ASSIGN(here_, open_parent_of(here_.get()));
      return {};
    }
    std::string name = std::move(level.directories.back());
    level.directories.pop_back();
    const Place place{here_.get(), name.c_str()};
    LB_ASSIGN(const auto redirect, get_xattr_at(place, marks_of(keeping_).redirect));
    LB_ASSIGN(here_, open_directory_at(place));
    LB_TRY(look_around(std::move(name)));
    if (redirect) note_way();
    return {};
  }

  void note_way() {
    std::size_t at = levels_.size();
    while (at > 1 && levels_[at - 1].way == 0) --at;
    for (; at < levels_.size(); ++at) {
      found_.moved_directories.push_back({levels_[at - 1].way, levels_[at].name});
      levels_[at].way = static_cast<std::uint32_t>(found_.moved_directories.size());
    }
  }

  Result<void> look_around(std::string name) {
    Level level;
    level.name = std::move(name);
    LB_TRY(each_in_directory(here_.get(), [&](const HostDirent& entry) -> Result<void> {
      LB_ASSIGN(const auto st, stat_at({here_.get(), entry.name.c_str()}));
      if (is_whiteout(st)) {
        found_.usage.bytes += tariff_.whiteout();
        return {};
      }
      if (!S_ISDIR(st.st_mode) && st.st_nlink > 1 && !multi_link_inodes_.insert(st.st_ino).second) return {};
      LB_ASSIGN(const auto attributes, charge_of_attributes(tariff_, {here_.get(), entry.name.c_str()}));
      found_.usage.bytes += tariff_.object(st) + attributes;
      found_.usage.inodes += 1;
      if (S_ISDIR(st.st_mode)) level.directories.push_back(entry.name);
      return {};
    }));
    levels_.push_back(std::move(level));
    return {};
  }

  Keeping keeping_;
  Tariff tariff_;
  UniqueFd here_;
  std::vector<Level> levels_;
  std::unordered_set<std::uint64_t> multi_link_inodes_;
  Survey found_;
};

}  // namespace

Result<Survey> survey_directory(Keeping keeping, int root_fd, const Tariff& tariff) {
  return Walk::over(keeping, root_fd, tariff);
}

}  // namespace layerboot::overlay
