#include "oci-mount/store/unpack_child.h"

#include <malloc.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <string_view>

#include "oci-mount/base/bytes.h"
#include "oci-mount/base/interrupt.h"
#include "oci-mount/base/printable.h"
#include "oci-mount/base/walled_child.h"
#include "oci-mount/base/walls.h"
#include "oci-mount/store/unpack.h"
#include "oci-mount/store/unpacked_archive.h"

namespace layerboot::store {

namespace {

constexpr const char* kArgument = "--unpack-archive";
constexpr const char* kChildName = "layerboot-unzip";
constexpr std::size_t kMaxMessageBytes = 4096;
constexpr std::uint64_t kMaxErrno = 4095;
constexpr int kLookUpMs = 200;

/// What unpacking one archive may take: address space (the program's own counted), processor time.
constexpr std::uint64_t kMaxMemoryBytes = 1ULL << 30U;
constexpr std::uint64_t kMaxCpuSeconds = 28'800;

enum ChildFd : int { kArchiveFd = kFirstChildFd, kFileFd, kSocketFd };

struct Request {
  std::uint64_t fd_offset = 0;
  std::uint64_t size_bytes = 0;
  std::uint32_t compression = 0;
  std::uint32_t reserved = 0;
};

struct Report {
  enum Kind : std::uint32_t {
    kProgress = 1,  // `value` bytes of the archive are done
    kDone,
    kFailed,  // `value` is the error's code; its text follows
  };
  std::uint32_t kind = 0;
  std::uint32_t reserved = 0;
  std::uint64_t value = 0;
};

bool& children_flag() {
  static bool has = false;
  return has;
}

void report(Report::Kind kind, std::uint64_t value, std::string_view text = {}) {
  std::array<char, kMaxMessageBytes> message;
  Report head;
  head.kind = kind;
  head.value = value;
  std::memcpy(message.data(), &head, sizeof(head));
  const std::size_t text_bytes = text.copy(message.data() + sizeof(head), message.size() - sizeof(head));
  // Where nobody listens any more, SIGPIPE ends it.
  [[maybe_unused]] const auto put = ::write(kSocketFd, message.data(), sizeof(head) + text_bytes);
}

Result<void> unpack_in_walls() {
  ::mallopt(M_ARENA_MAX, 1);
  ::prctl(PR_SET_NAME, kChildName);
  Request request;
  if (::recv(kSocketFd, &request, sizeof(request), 0) != sizeof(request))
    return fail(EINVAL, "it is for the program itself to start");
  const auto archive =
      FileBlob::adopt(UniqueFd(kArchiveFd), request.fd_offset, request.size_bytes, "the archive");
  LB_TRY(leave_host(kArchiveFd));
  LB_TRY(limit_use(
      {.memory_bytes = kMaxMemoryBytes, .cpu_seconds = kMaxCpuSeconds, .file_bytes = kMaxUnpackedBytes}));
  LB_TRY(allow_only_what_is_open());
  return unpack_stream(*archive, static_cast<Compression>(request.compression), kFileFd,
                       [](std::uint64_t done) {
                         report(Report::kProgress, done);
                         return Result<void>();
                       });
}

int child_main() {
  const auto done = unpack_in_walls();
  if (done) {
    report(Report::kDone, 0);
  } else {
    report(Report::kFailed, static_cast<std::uint64_t>(done.error().code), done.error().describe());
  }
  // Not through what libraries do at exit.
  ::_exit(done ? 0 : 1);
}

/// What the child says it came to; nothing where it ended without a word.
Result<std::optional<Result<void>>> listen_to(const WalledChild& child, std::uint64_t archive_bytes,
                                              const std::function<void(std::uint64_t)>& on_progress) {
  const timeval patience{.tv_sec = 0, .tv_usec = kLookUpMs * 1000};
  ::setsockopt(child.socket(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
  std::array<std::byte, kMaxMessageBytes> room;
  std::optional<Result<void>> said;
  for (;;) {
    const ssize_t got = ::recv(child.socket(), room.data(), room.size(), 0);
    LB_TRY(check_interrupted());
    if (got < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (got <= 0) return said;
    ByteReader reader{std::span<const std::byte>(room).first(static_cast<std::size_t>(got))};
    const auto told = reader.read<Report>();
    if (!reader.ok()) continue;
    if (told.kind == Report::kProgress) on_progress(std::min(told.value, archive_bytes));
    if (told.kind == Report::kDone) said.emplace();
    if (told.kind == Report::kFailed) {
      const bool known = told.value > 0 && told.value <= kMaxErrno;
      said.emplace(fail(known ? static_cast<int>(told.value) : EIO, printable_lines(as_text(reader.rest()))));
    }
  }
}

}  // namespace

std::optional<int> run_as_unpack_child(int argc, const char* const* argv) {
  if (argc == 2 && std::string_view(argv[1]) == kArgument) return child_main();
  children_flag() = true;
  return std::nullopt;
}

Result<void> unpack_into(const FileBlob& archive, Compression compression, int fd,
                         const std::function<void(std::uint64_t)>& on_progress) {
  if (!children_flag()) {
    return unpack_stream(archive, compression, fd, [&](std::uint64_t done) {
      on_progress(done);
      return check_interrupted();
    });
  }
  LB_ASSIGN(WalledChild child,
            WalledChild::start({.name = kChildName, .argument = kArgument, .socket_type = SOCK_SEQPACKET},
                               {archive.fd(), fd}));
  Request request;
  request.fd_offset = archive.fd_offset();
  request.size_bytes = archive.size_bytes();
  request.compression = static_cast<std::uint32_t>(compression);
  // One that has ended already is met below.
  if (::send(child.socket(), &request, sizeof(request), MSG_NOSIGNAL) < 0 && errno != EPIPE)
    return errno_error("a message to the process that unpacks it");
  LB_ASSIGN(const auto said, listen_to(child, archive.size_bytes(), on_progress));
  const auto end = child.await();
  if (said) return *said;
  if (end.cpu_seconds + 1 >= kMaxCpuSeconds)
    return fail(E2BIG, "it takes more than ", kMaxCpuSeconds, " s of processor time to unpack");
  return fail(EIO, "the process that unpacks it ", how_it_broke_down(end));
}

}  // namespace layerboot::store
