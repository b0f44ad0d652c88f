#include "launcher/console/console_log.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "launcher/host/log_bound.h"
#include "oci-mount/base/bytes.h"
#include "oci-mount/base/files.h"
#include "oci-mount/base/log.h"
#include "oci-mount/base/mode_bits.h"

namespace layerboot::launcher {

namespace {

constexpr int kOpenFlags = O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW;

}  // namespace

std::filesystem::path log_times(const std::filesystem::path& log) { return log.string() + ".times"; }

Result<ConsoleLog> ConsoleLog::create(const std::filesystem::path& path, std::uint64_t max_bytes) {
  for (const auto& old : {older_log(path), log_times(older_log(path))}) {
    if (::unlink(old.c_str()) != 0 && errno != ENOENT) return errno_error("cannot remove ", old.string());
  }
  LB_ASSIGN(UniqueFd fd, open_path(path, kOpenFlags, kPrivateFile));
  LB_ASSIGN(UniqueFd times, open_path(log_times(path), kOpenFlags, kPrivateFile));
  return ConsoleLog(path, std::move(fd), std::move(times), max_bytes);
}

Result<void> ConsoleLog::begin_again() {
  for (const auto& [from, to] :
       {std::pair(path_, older_log(path_)), std::pair(log_times(path_), log_times(older_log(path_)))}) {
    if (::rename(from.c_str(), to.c_str()) != 0) return errno_error("cannot move ", from.string());
  }
  LB_ASSIGN(fd_, open_path(path_, kOpenFlags, kPrivateFile));
  LB_ASSIGN(times_, open_path(log_times(path_), kOpenFlags, kPrivateFile));
  size_bytes_ = 0;
  times_bytes_ = 0;
  last_time_ = 0;
  return {};
}

Result<void> ConsoleLog::note_time(std::int64_t now) {
  if (now == last_time_) return {};
  last_time_ = now;
  const std::string line = str_cat(size_bytes_, ' ', now, '\n');
  LB_TRY(write_all(times_.get(), as_bytes(line), times_bytes_));
  times_bytes_ += line.size();
  return {};
}

void ConsoleLog::append(std::string_view text, std::int64_t now) {
  while (!text.empty() && !broken_) {
    Result<void> done;
    if (size_bytes_ >= max_bytes_) done = begin_again();
    const std::string_view part =
        text.substr(0, std::min<std::uint64_t>(text.size(), max_bytes_ - size_bytes_));
    if (done) done = note_time(now);
    if (done) done = write_all(fd_.get(), as_bytes(part), size_bytes_);
    if (!done) {
      broken_ = true;
      log_warn("the console is no longer kept: ", done.error().describe());
      return;
    }
    size_bytes_ += part.size();
    text.remove_prefix(part.size());
  }
}

}  // namespace layerboot::launcher
