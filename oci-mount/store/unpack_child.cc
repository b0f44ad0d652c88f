#include "oci-mount/store/unpack_child.h"

#include <malloc.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <cerrno>

#include "oci-mount/base/child_entry.h"
#include "oci-mount/base/child_report.h"
#include "oci-mount/base/interrupt.h"
#include "oci-mount/base/walled_child.h"
#include "oci-mount/base/walls.h"
#include "oci-mount/store/unpack.h"
#include "oci-mount/store/unpacked_archive.h"

namespace layerboot::store {

namespace {

constexpr const char* kChildName = "layerboot-unzip";
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

constexpr ChildReports kReports(kSocketFd);

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
                         kReports.progress(done);
                         return Result<void>();
                       });
}

int child_main() { kReports.end(unpack_in_walls()); }

constinit ChildEntry unpack_children("--unpack-archive", &child_main);

}  // namespace

std::optional<int> run_as_unpack_child(int argc, const char* const* argv) {
  return unpack_children.enter(argc, argv);
}

Result<void> unpack_into(const FileBlob& archive, Compression compression, int fd,
                         const std::function<void(std::uint64_t)>& on_progress) {
  if (!unpack_children.is_offered()) {
    return unpack_stream(archive, compression, fd, [&](std::uint64_t done) {
      on_progress(done);
      return check_interrupted();
    });
  }
  LB_ASSIGN(WalledChild child,
            WalledChild::start(
                {.name = kChildName, .argument = unpack_children.argument(), .socket_type = SOCK_SEQPACKET},
                {archive.fd(), fd}));
  Request request;
  request.fd_offset = archive.fd_offset();
  request.size_bytes = archive.size_bytes();
  request.compression = static_cast<std::uint32_t>(compression);
  // One that has ended already is met below.
  if (::send(child.socket(), &request, sizeof(request), MSG_NOSIGNAL) < 0 && errno != EPIPE)
    return errno_error("a message to the process that unpacks it");
  const timeval patience{.tv_sec = 0, .tv_usec = kLookUpMs * 1000};
  ::setsockopt(child.socket(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
  LB_ASSIGN(const auto said, hear_reports(child, archive.size_bytes(), on_progress, &check_interrupted));
  const auto end = child.await();
  if (said) return *said;
  if (end.cpu_seconds + 1 >= kMaxCpuSeconds)
    return fail(E2BIG, "it takes more than ", kMaxCpuSeconds, " s of processor time to unpack");
  return fail(EIO, "the process that unpacks it ", how_it_broke_down(end));
}

}  // namespace layerboot::store
