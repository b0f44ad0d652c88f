#include "oci-mount/overlay/survey.h"

#include <unordered_map>
#include <utility>

#include "oci-mount/base/disk_blocks.h"
#include "oci-mount/overlay/allocated_range.h"
#include "oci-mount/overlay/file_rules.h"
#include "oci-mount/overlay/upper_calls.h"

namespace layerboot::overlay {

namespace {

/// A walk over directories of any depth, with one descriptor and no recursion: where it is, and what is left
/// to enter on each level above.
class Walk {
 public:
  static Result<Survey> over(Keeping keeping, int root_fd, const Tariff& tariff, MemoryBudget* memory,
                             const LateFilesByInode* late) {
    Walk walk(keeping, tariff, memory, late);
    LB_ASSIGN(walk.here_, open_directory_at({root_fd, "."}));
    LB_ASSIGN(const auto root, stat_at({root_fd, ""}));
    LB_ASSIGN(const auto attributes, charge_of_attributes(tariff, {root_fd, "."}));
    walk.found_.usage.bytes = tariff.root(root) + attributes;
    LB_TRY(walk.look_around({}));
    while (!walk.levels_.empty()) LB_TRY(walk.step());
    return std::move(walk.found_);
  }

 private:
  Walk(Keeping keeping, const Tariff& tariff, MemoryBudget* memory, const LateFilesByInode* late)
      : keeping_(keeping), tariff_(tariff), memory_(memory), late_(late) {
    found_.memory.emplace(memory);
  }

  struct Level {
    std::string name;
    std::uint32_t way = 0;                 // its own in found_.moved_directories, from 1; 0: not there
    std::vector<std::string> directories;  // still to enter
    std::uint64_t paid_bytes = 0;          // for all of it
  };

  Result<void> step() {
    Level& level = levels_.back();
    if (level.directories.empty()) {
      memory_.give_back(level.paid_bytes);
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
    return redirect ? note_way() : Result<void>();
  }

  Result<void> note_way() {
    std::size_t at = levels_.size();
    while (at > 1 && levels_[at - 1].way == 0) --at;
    for (; at < levels_.size(); ++at) {
      LB_TRY(found_.add({levels_[at - 1].way, levels_[at].name}));
      levels_[at].way = static_cast<std::uint32_t>(found_.moved_directories.size());
    }
    return {};
  }

  Result<void> look_around(std::string name) {
    Level level;
    level.name = std::move(name);
    LB_TRY(pay(level, sizeof(Level) + heap_bytes(level.name)));
    LB_TRY(each_in_directory(here_.get(), [&](const HostDirent& entry) -> Result<void> {
      LB_ASSIGN(const auto st, stat_at({here_.get(), entry.name.c_str()}));
      if (is_whiteout(st)) {
        found_.usage.bytes += tariff_.whiteout();
        return {};
      }
      LB_ASSIGN(const bool is_first, is_first_name(st));
      if (!is_first) return {};
      LB_ASSIGN(const auto attributes, charge_of_attributes(tariff_, {here_.get(), entry.name.c_str()}));
      std::uint64_t bytes = tariff_.object(st) + attributes;
      if (late_ != nullptr) bytes = note_late(entry.name, st, bytes);
      found_.usage.bytes += bytes;
      found_.usage.inodes += 1;
      if (!S_ISDIR(st.st_mode)) return {};
      // Twice: the vector grows by doubling.
      LB_TRY(pay(level, 2 * sizeof(std::string) + heap_bytes(entry.name)));
      level.directories.push_back(entry.name);
      return {};
    }));
    levels_.push_back(std::move(level));
    return {};
  }

  /// With what the host keeps of it beside what it shows.
  std::uint64_t note_late(const std::string& name, const struct stat& st, std::uint64_t bytes) {
    const auto known = late_->find(st.st_ino);
    if (known != late_->end()) {
      LateFile& counted = found_.late_files[st.st_ino] = known->second;
      bytes += tariff_.for_data(counted.kept_bytes);
      counted.charged_bytes = bytes;
    } else if (ahead_ < Survey::kMostAhead && is_ahead({here_.get(), name.c_str()}, st)) {
      found_.late_files[st.st_ino] = {.charged_bytes = bytes, .later = Later::kShrinks};
      ++ahead_;
    }
    return bytes;
  }

  /// Whether there may be blocks beyond the file's end, which the host takes back when it likes.
  [[nodiscard]] bool is_ahead(Place place, const struct stat& st) const {
    const std::uint64_t allocated = allocated_bytes(st);
    if (!tariff_.allocates_ahead() || !S_ISREG(st.st_mode) || allocated == 0) return false;
    const std::uint64_t end = block_end(static_cast<std::uint64_t>(st.st_size));
    if (allocated >= end) return allocated > end;
    const auto fd = open_to_read_at(place);
    return !fd || allocated_from(fd->get(), end) > 0;
  }

  Result<void> pay(Level& level, std::uint64_t bytes) {
    LB_TRY(memory_.take(bytes));
    level.paid_bytes += bytes;
    return {};
  }

  /// Of a file with several names, only the first that is met counts. It is remembered until the last.
  Result<bool> is_first_name(const struct stat& st) {
    constexpr std::uint64_t kLinkBytes = 64;  // its place in the table, and the allocator's part
    if (S_ISDIR(st.st_mode) || st.st_nlink <= 1) return true;
    if (const auto known = names_to_come_.find(st.st_ino); known != names_to_come_.end()) {
      if (--known->second == 0) {
        names_to_come_.erase(known);
        memory_.give_back(kLinkBytes);
      }
      return false;
    }
    LB_TRY(memory_.take(kLinkBytes));
    names_to_come_.emplace(st.st_ino, st.st_nlink - 1);
    return true;
  }

  Keeping keeping_;
  Tariff tariff_;
  UniqueFd here_;
  ListMemory memory_;
  const LateFilesByInode* late_;
  std::size_t ahead_ = 0;  // of found_.late_files
  std::vector<Level> levels_;
  std::unordered_map<std::uint64_t, std::uint64_t> names_to_come_;  // by inode: of files with several
  Survey found_;
};

}  // namespace

Result<void> Survey::add(WayToMoved way) {
  // Twice: the vector grows by doubling.
  if (memory) LB_TRY(memory->take(2 * sizeof(WayToMoved) + heap_bytes(way.name)));
  moved_directories.push_back(std::move(way));
  return {};
}

Result<Survey> survey_directory(Keeping keeping, int root_fd, const Tariff& tariff, MemoryBudget* memory,
                                const LateFilesByInode* late) {
  return Walk::over(keeping, root_fd, tariff, memory, late);
}

}  // namespace layerboot::overlay
