// LateGrowth: what the quota has booked for files that left memory before the host had allocated all of
// theirs.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <unordered_map>
#include <utility>

namespace layerboot::overlay {

/// A host allocates at write-back, and a scattered file then takes blocks for its tree of extents that no
/// stat before has shown (ext4: four extents lie in the inode, more need a block). Booked against what is
/// remembered here, they are not lost when the file is met again. Not thread-safe.
class LateGrowth {
 public:
  /// Files remembered. Beyond it one gives way, and what it grows late is found by the next count.
  static constexpr std::size_t kMaxFiles = 1U << 16;
  /// What they take at most, which is the program's own (MemoryBudget::kProgramBytes).
  static constexpr std::size_t kMaxBytes = 4U << 20;

  [[nodiscard]] const std::unordered_map<std::uint64_t, std::uint64_t>& all() const { return charged_; }

  void remember(std::uint64_t host_ino, std::uint64_t charged_bytes) {
    if (charged_.size() >= kMaxFiles && !charged_.contains(host_ino)) {
      charged_.erase(charged_.begin());
      has_forgotten_ = true;
    }
    charged_[host_ino] = charged_bytes;
    has_uncounted_ = true;
  }
  /// A count has met these of them, and the others are no more. Those that have given way may still grow.
  void take_count(std::unordered_map<std::uint64_t, std::uint64_t> charged) {
    charged_ = std::move(charged);
    has_uncounted_ = false;
  }
  /// Files have come since the last count, which may have grown meanwhile.
  [[nodiscard]] bool has_uncounted() const { return has_uncounted_; }
  /// One has given way: what it grows by is found by nothing but a count.
  [[nodiscard]] bool has_forgotten() const { return has_forgotten_; }

  /// What was booked for the file, which is forgotten here; nothing when it is not known.
  [[nodiscard]] std::optional<std::uint64_t> take(std::uint64_t host_ino) {
    const auto found = charged_.find(host_ino);
    if (found == charged_.end()) return std::nullopt;
    const auto charged_bytes = found->second;
    charged_.erase(found);
    return charged_bytes;
  }

  void clear() {
    charged_.clear();
    has_forgotten_ = false;
    has_uncounted_ = false;
  }

 private:
  std::unordered_map<std::uint64_t, std::uint64_t> charged_;  // by inode number on the host
  bool has_forgotten_ = false;
  bool has_uncounted_ = false;
};

}  // namespace layerboot::overlay
