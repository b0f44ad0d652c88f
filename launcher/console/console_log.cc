#include "launcher/console/console_log.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>

#include "launcher/host/log_bound.h"
#include "oci-mount/base/bytes.h"
#include "oci-mount/base/files.h"
#include "oci-mount/base/log.h"

namespace layerboot::launcher {

namespace {

constexpr mode_t kPrivateFile = 0600;
constexpr int kOpenFlags = O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW;

}  // namespace

Result<ConsoleLog> ConsoleLog::create(const std::filesystem::path& path, std::uint64_t max_bytes) {
  if (::unlink(older_log(path).c_str()) != 0 && errno != ENOENT) {
    return errno_error("cannot remove ", older_log(path).string());
  }
  LB_ASSIGN(UniqueFd fd, open_path(path, kOpenFlags, kPrivateFile));
  return ConsoleLog(path, std::move(fd), max_bytes);
}

Result<void> ConsoleLog::begin_again() {
  if (::rename(path_.c_str(), older_log(path_).c_str()) != 0)
    return errno_error("cannot move ", path_.string());
  LB_ASSIGN(fd_, open_path(path_, kOpenFlags, kPrivateFile));
  size_bytes_ = 0;
  return {};
}

void ConsoleLog::append(std::string_view text) {
  while (!text.empty() && !broken_) {
    Result<void> done;
    if (size_bytes_ >= max_bytes_) done = begin_again();
    const std::string_view part =
        text.substr(0, std::min<std::uint64_t>(text.size(), max_bytes_ - size_bytes_));
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
