// CleanStop: what a session that ended in order leaves in DIR/clean, so that the next need not walk the
// upper. FORMAT.md has its bytes. Before a session's first request and after its last, when nobody
// else has the upper: no lock.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "oci-mount/base/result.h"
#include "oci-mount/overlay/survey.h"

namespace layerboot::overlay {

struct CleanStop {
  struct LostNames {
    std::string path;  // of an image's file with several names, by its first
    std::uint32_t count = 0;
  };
  /// False: of a session that could not note all of it, only what no count finds; without `survey`,
  /// `lower_key` and `lost_names`.
  bool is_counted = true;
  Survey survey;
  /// Names exactly the tree that `lost_names` speaks of.
  std::string lower_key;
  std::vector<LostNames> lost_names;
  /// By their inodes on the host.
  LateFilesByInode late_files;
  /// LateGrowth::forgotten_kept_bytes(): what of the count no file above is charged.
  std::uint64_t forgotten_kept_bytes = 0;
  [[nodiscard]] bool says_what_is_kept() const { return !late_files.empty() || forgotten_kept_bytes > 0; }
};

/// The directories of an upper; borrowed.
struct UpperDirectories {
  int top_fd;   // DIR
  int root_fd;  // DIR/upper
  int work_fd;  // DIR/work
};

/// Writes DIR/clean durably; none where it would say nothing. REQUIRES: all of the upper is on the disk, and
/// nothing changes it from now on but forget_clean_stop(). A failure leaves no file: then the next start
/// walks. So it does where there is more than kMaxCleanStopBytes, of which what no count finds is left.
Result<void> write_clean_stop(UpperDirectories upper, const CleanStop& stop);

/// What DIR/clean says; nothing where it is not there, is damaged, or where DIR/upper or DIR/work have been
/// touched since: by a mount of the kernel's overlayfs, which makes a directory in DIR/work, or by who
/// restored them from a backup. Changes nothing.
std::optional<CleanStop> read_clean_stop(UpperDirectories upper);

/// Removes DIR/clean, durably: before the first change of a session.
Result<void> forget_clean_stop(int top_fd);

inline constexpr std::size_t kMaxCleanStopBytes = 16U << 20;

}  // namespace layerboot::overlay
