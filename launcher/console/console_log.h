// ConsoleLog: what a guest says on its console, and when, kept within a bound.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string_view>

#include "oci-mount/base/result.h"
#include "oci-mount/base/unique_fd.h"

namespace layerboot::launcher {

/// Beside a log, `LOG.times`: a line "OFFSET SECONDS" for the first byte that came in a second, both decimal,
/// seconds since 1970. Goes with its log to older_log().
std::filesystem::path log_times(const std::filesystem::path& log);

/// A file that is moved to older_log(PATH) when it is full and begun again, so that both hold the latest
/// kMaxBytes to 2 * kMaxBytes: a guest can't fill the host's disk with its console. Readable by its owner
/// alone.
class ConsoleLog {
 public:
  static constexpr std::uint64_t kMaxBytes = std::uint64_t{8} << 20;

  /// Begins anew, and removes what an earlier run left.
  static Result<ConsoleLog> create(const std::filesystem::path& path, std::uint64_t max_bytes = kMaxBytes);

  /// A log that can't be written is warned of once; the guest goes on. `now`: seconds since 1970.
  void append(std::string_view text, std::int64_t now);
  /// Of the file, not of the older one.
  [[nodiscard]] std::uint64_t size_bytes() const { return size_bytes_; }

 private:
  ConsoleLog(std::filesystem::path path, UniqueFd fd, UniqueFd times, std::uint64_t max_bytes)
      : path_(std::move(path)), fd_(std::move(fd)), times_(std::move(times)), max_bytes_(max_bytes) {}
  Result<void> begin_again();
  Result<void> note_time(std::int64_t now);

  std::filesystem::path path_;
  UniqueFd fd_;
  UniqueFd times_;
  std::uint64_t max_bytes_;
  std::uint64_t size_bytes_ = 0;
  std::uint64_t times_bytes_ = 0;
  std::int64_t last_time_ = 0;  // 0: none in this file yet
  bool broken_ = false;
};

}  // namespace layerboot::launcher
