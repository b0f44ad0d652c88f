// LogLimit: a warning that a guest or another stranger can call forth, kept from filling the log.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <mutex>
#include <optional>
#include <string>
#include <utility>

#include "oci-mount/base/log.h"

namespace layerboot {

/// One for each kind of warning (or other line), living as long as its stranger can call it forth. The first
/// `at_once` are told at once (one, unless several make sense together), then at most one in kPause, and as
/// long as nothing comes so many more at once; each says how many before it were left out. What is left out
/// last is never told unless another comes. Any thread may call.
class LogLimit {
 public:
  using Time = std::chrono::steady_clock::time_point;
  static constexpr std::chrono::minutes kPause{1};

  explicit LogLimit(std::int64_t at_once = 1) : at_once_(at_once) {}

  /// Asks for one that comes at `now`. Nothing: it is to be left out, and is counted. Otherwise it is to be
  /// told, with so many that were left out since the last one that was.
  [[nodiscard]] std::optional<std::uint64_t> take(Time now) {
    const std::lock_guard lock(mutex_);
    const std::int64_t pauses = told_ == 0 ? 0 : (now - since_) / kPause;
    told_ = std::max<std::int64_t>(told_ - pauses, 0);
    since_ = told_ == 0 ? now : since_ + pauses * kPause;
    if (told_ >= at_once_) {
      ++left_out_;
      return std::nullopt;
    }
    ++told_;
    return std::exchange(left_out_, 0);
  }

  /// One line of `level`, as far as take() lets it at this moment.
  template <typename... Parts>
  void line(LogLevel level, const Parts&... parts) {
    if (!log_enabled(level)) return;
    if (const auto left_out = take(std::chrono::steady_clock::now()))
      log_line(level, str_cat(parts..., words(*left_out)));
  }
  template <typename... Parts>
  void warn(const Parts&... parts) {
    line(LogLevel::kWarn, parts...);
  }

  /// What is put behind a warning: nothing where none was left out.
  [[nodiscard]] static std::string words(std::uint64_t left_out) {
    return left_out == 0 ? std::string() : str_cat(" (and ", left_out, " times more before this)");
  }

 private:
  const std::int64_t at_once_;
  std::mutex mutex_;
  std::int64_t told_ = 0;  // less one for each pause since then
  Time since_;             // when told_ was last counted
  std::uint64_t left_out_ = 0;
};

}  // namespace layerboot
