#include "launcher/host/output_place.h"

#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <optional>
#include <system_error>
#include <vector>

#include "oci-mount/base/absolute_path.h"
#include "oci-mount/base/decimal.h"
#include "oci-mount/base/files.h"
#include "oci-mount/base/interrupt.h"
#include "oci-mount/base/printable.h"

namespace layerboot::launcher {

namespace {

namespace fs = std::filesystem;

constexpr int kTickMs = 200;
constexpr std::size_t kPieceBytes = std::size_t{1} << 20;
constexpr int kMaxSymlinks = 40;  // as the kernel has it

/// Where a path leads to: a name that is no symlink, or a descriptor of this process.
struct End {
  fs::path path;
  std::optional<int> descriptor;
};

Result<End> follow(const fs::path& path) {
  std::error_code error;
  const fs::path own_descriptors = fs::canonical("/proc/self/fd", error);
  LB_ASSIGN(fs::path at, absolute_path(path));
  for (int i = 0; i < kMaxSymlinks; ++i) {
    const fs::path directory = fs::canonical(at.parent_path(), error);
    if (error) return fail(error.value(), printable(at.parent_path().string()));
    at = directory / at.filename();
    if (directory == own_descriptors) {
      if (const auto number = parse_whole<int>(at.filename().string())) return End{at, number};
    }
    if (!fs::is_symlink(fs::symlink_status(at, error))) return End{at, {}};
    const fs::path target = fs::read_symlink(at, error);
    if (error) return fail(error.value(), printable(at.string()));
    at = directory / target;
  }
  return fail(ELOOP, printable(path.string()));
}

Result<UniqueFd> open_stream(const fs::path& path, bool is_fifo) {
  for (;;) {
    LB_TRY(check_interrupted());
    // Or who waits for a FIFO's reader would hear no signal.
    auto stream = open_path(path, O_WRONLY | O_NONBLOCK | O_NOCTTY);
    if (stream || !is_fifo || stream.error().code != ENXIO) return stream;
    [[maybe_unused]] const int none = ::poll(nullptr, 0, kTickMs);
  }
}

Result<void> wait_for(int fd, short events) {
  for (;;) {
    LB_TRY(check_interrupted());
    pollfd one{fd, events, 0};
    const int ready = ::poll(&one, 1, kTickMs);
    if (ready > 0) return {};
    if (ready < 0 && errno != EINTR) return errno_error("poll");
  }
}

/// In pieces that a pipe takes whole when it takes anything, so that none is waited in.
Result<void> put(int to, std::span<const std::byte> bytes, std::size_t piece_bytes) {
  while (!bytes.empty()) {
    LB_TRY(wait_for(to, POLLOUT));
    const ssize_t done = ::write(to, bytes.data(), std::min(bytes.size(), piece_bytes));
    if (done < 0 && errno != EINTR && errno != EAGAIN) return errno_error("cannot write");
    if (done > 0) bytes = bytes.subspan(static_cast<std::size_t>(done));
  }
  return {};
}

}  // namespace

Result<OutputPlace> open_output(const fs::path& path) {
  LB_ASSIGN(const End end, follow(path));
  OutputPlace place;
  if (end.descriptor) {
    place.stream = UniqueFd(::fcntl(*end.descriptor, F_DUPFD_CLOEXEC, STDERR_FILENO + 1));
    if (!place.stream) return errno_error(printable(path.string()));
    return place;
  }
  struct stat st{};
  const bool is_there = ::stat(end.path.c_str(), &st) == 0;
  if (is_there && S_ISDIR(st.st_mode)) return fail(EISDIR, printable(path.string()));
  if (!is_there || S_ISREG(st.st_mode)) {
    place.file = end.path;
    return place;
  }
  LB_ASSIGN(place.stream, open_stream(end.path, S_ISFIFO(st.st_mode)));
  return place;
}

Result<void> copy_stream(int from, int to) {
  struct stat st{};
  const bool is_file = ::fstat(to, &st) == 0 && S_ISREG(st.st_mode);
  std::vector<std::byte> piece(kPieceBytes);
  for (;;) {
    LB_TRY(wait_for(from, POLLIN));
    const ssize_t got = ::read(from, piece.data(), piece.size());
    if (got < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (got < 0) return errno_error("cannot read");
    if (got == 0) return {};
    LB_TRY(put(to, std::span(piece).first(static_cast<std::size_t>(got)), is_file ? kPieceBytes : PIPE_BUF));
  }
}

}  // namespace layerboot::launcher
