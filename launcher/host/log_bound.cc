#include "launcher/host/log_bound.h"

#include <fcntl.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include <boost/asio/buffer.hpp>
#include <string>

#include "oci-mount/base/bytes.h"
#include "oci-mount/base/files.h"
#include "oci-mount/base/log.h"

namespace layerboot::launcher {

using boost::system::error_code;

std::filesystem::path older_log(const std::filesystem::path& path) { return path.string() + ".1"; }

LogBound::LogBound(boost::asio::io_context& io, std::filesystem::path path, std::uint64_t max_bytes)
    : events_(io), path_(std::move(path)), max_bytes_(max_bytes) {}

LogBound::~LogBound() {
  error_code ignored;
  events_.close(ignored);
}

Result<std::unique_ptr<LogBound>> LogBound::watch(boost::asio::io_context& io,
                                                  const std::filesystem::path& path,
                                                  std::uint64_t max_bytes) {
  std::unique_ptr<LogBound> bound(new LogBound(io, path, max_bytes));
  LB_ASSIGN(bound->file_, open_path(path, O_RDWR | O_NOFOLLOW));
  UniqueFd events(::inotify_init1(IN_NONBLOCK | IN_CLOEXEC));
  if (!events || ::inotify_add_watch(events.get(), path.c_str(), IN_MODIFY) < 0) {
    return errno_error("cannot watch ", path.string());
  }
  error_code error;
  bound->events_.assign(events.get(), error);
  if (error) return fail(error.value(), "cannot watch ", path.string(), ": ", error.message());
  [[maybe_unused]] const int given = events.release();
  bound->wait();
  return bound;
}

void LogBound::wait() {
  // Events of one kind that nobody has taken yet are one: a flood of lines is no flood of these.
  events_.async_read_some(boost::asio::buffer(buffer_), [this](error_code error, std::size_t) {
    if (error) return;
    if (const auto done = shorten(); !done && !std::exchange(broken_, true)) {
      log_warn(path_.string(), " can't be kept short: ", done.error().describe());
    }
    wait();
  });
}

Result<void> LogBound::shorten() {
  struct stat st{};
  if (::fstat(file_.get(), &st) != 0) return errno_error(path_.string());
  const auto size_bytes = static_cast<std::uint64_t>(st.st_size);
  if (size_bytes <= max_bytes_) return {};
  std::string kept(max_bytes_, '\0');
  const ssize_t got =
      ::pread(file_.get(), kept.data(), kept.size(), static_cast<off_t>(size_bytes - max_bytes_));
  if (got < 0) return errno_error(path_.string());
  kept.resize(static_cast<std::size_t>(got));
  LB_ASSIGN(auto older, AtomicFile::create(older_log(path_), 0600));
  LB_TRY(older.append(as_bytes(kept)));
  LB_TRY(older.commit());
  if (::ftruncate(file_.get(), 0) != 0) return errno_error(path_.string());
  return {};
}

}  // namespace layerboot::launcher
