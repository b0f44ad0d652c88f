// LateGrowth: what the quota has booked for files that left memory before the host had allocated all of
// theirs, and what they may still take.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <unordered_map>

namespace layerboot::overlay {

/// What the host may do with a file's blocks when nobody looks: allocate more than is booked; or take back
/// what it has allocated ahead, or keeps of what was cut off.
enum class Later : std::uint8_t { kGrows, kShrinks };

/// Charge::kept_from of a file that was never cut.
inline constexpr std::uint64_t kNeverCut = UINT64_MAX;

/// A file of which a look at the host does not tell for good what it is charged.
struct LateFile {
  std::uint64_t charged_bytes = 0;
  std::uint64_t late_bytes = 0;  // what it may take beyond that, where it grows: the ledger knows
  std::uint64_t kept_bytes =
      0;  // of charged_bytes, without what data takes beside itself: Charge::kept_bytes
  std::uint64_t kept_from = kNeverCut;  // Charge::kept_from
  Later later = Later::kGrows;
  bool is_sparse = false;  // Charge::is_sparse
};
using LateFilesByInode = std::unordered_map<std::uint64_t, LateFile>;  // the inode number on the host

/// A host allocates at write-back, and a scattered file then takes blocks for its tree of extents that no
/// stat before has shown (ext4: four extents lie in the inode, more need a block). Booked against what is
/// remembered here, they are not lost when the file is met again. Not thread-safe, but for late_bytes().
class LateGrowth {
 public:
  /// Files remembered. Beyond it one gives way, and what it grows late is found by the next count; but what
  /// the host keeps of it nobody finds, and is remembered as a sum.
  static constexpr std::size_t kMaxFiles = 1U << 16;
  /// What they take at most, which is the program's own (MemoryBudget::kProgramBytes).
  static constexpr std::size_t kMaxBytes = 6U << 20;

  [[nodiscard]] const LateFilesByInode& all() const { return files_; }

  void remember(std::uint64_t host_ino, const LateFile& file) {
    if (files_.size() >= kMaxFiles && !files_.contains(host_ino)) forget_one();
    LateFile& known = files_[host_ino];
    late_bytes_ += file.late_bytes - known.late_bytes;
    known = file;
    if (file.late_bytes > 0) has_uncounted_ = true;
  }
  /// Those that are remembered from now on are what a count has met of them; the others are no more.
  void begin_count() {
    late_bytes_ = 0;
    files_.clear();
  }
  void end_count() { has_uncounted_ = false; }
  /// Files have come since the last count, which may have grown meanwhile.
  [[nodiscard]] bool has_uncounted() const { return has_uncounted_; }
  /// One has given way: what it grows by is found by nothing but a count.
  [[nodiscard]] bool has_forgotten() const { return has_forgotten_; }
  /// Of those that have given way: LateFile::kept_bytes. Stays for good, whatever becomes of them.
  [[nodiscard]] std::uint64_t forgotten_kept_bytes() const { return forgotten_kept_bytes_; }
  void forget_kept(std::uint64_t bytes) { forgotten_kept_bytes_ += bytes; }
  /// What all that are remembered may take. Lock-free.
  [[nodiscard]] std::uint64_t late_bytes() const { return late_bytes_.load(std::memory_order_relaxed); }

  /// What is known of the file, which is forgotten here; nothing when it is not known.
  [[nodiscard]] std::optional<LateFile> take(std::uint64_t host_ino) {
    const auto found = files_.find(host_ino);
    if (found == files_.end()) return std::nullopt;
    const LateFile file = found->second;
    files_.erase(found);
    late_bytes_ -= file.late_bytes;
    return file;
  }

  void clear() {
    begin_count();
    end_count();
    has_forgotten_ = false;
  }

 private:
  /// One of which a count finds all, where a few looks find such a one.
  void forget_one() {
    constexpr int kMostLooks = 16;
    auto victim = files_.begin();
    auto file = victim;
    for (int i = 0; i < kMostLooks && file != files_.end(); ++i, ++file) {
      if (file->second.kept_bytes > 0) continue;
      victim = file;
      break;
    }
    forget_kept(victim->second.kept_bytes);
    static_cast<void>(take(victim->first));
    has_forgotten_ = true;
  }

  LateFilesByInode files_;
  std::atomic<std::uint64_t> late_bytes_ = 0;
  std::uint64_t forgotten_kept_bytes_ = 0;
  bool has_forgotten_ = false;
  bool has_uncounted_ = false;
};

}  // namespace layerboot::overlay
