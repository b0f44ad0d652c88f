#include "oci-mount/base/child_report.h"

#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "oci-mount/base/bytes.h"
#include "oci-mount/base/printable.h"

namespace layerboot {

namespace {

constexpr std::size_t kMaxReportBytes = 16U << 10U;
constexpr std::uint64_t kMaxErrno = 4095;

enum Kind : std::uint32_t {
  kProgress = 1,  // `value` bytes are done
  kDone = 2,
  kFailed = 3,  // `value` is the error's code; its text follows
};

struct Report {
  std::uint32_t kind = 0;
  std::uint32_t reserved = 0;
  std::uint64_t value = 0;
};

}  // namespace

void ChildReports::say(std::uint32_t kind, std::uint64_t value, std::string_view text) const {
  std::array<char, kMaxReportBytes> message;
  const Report head{.kind = kind, .value = value};
  std::memcpy(message.data(), &head, sizeof(head));
  const std::size_t text_bytes = text.copy(message.data() + sizeof(head), message.size() - sizeof(head));
  // Where nobody listens any more, SIGPIPE ends it.
  [[maybe_unused]] const auto put = ::write(fd_, message.data(), sizeof(head) + text_bytes);
}

void ChildReports::progress(std::uint64_t done_bytes) const { say(kProgress, done_bytes); }
void ChildReports::done() const { say(kDone, 0); }
void ChildReports::failed(int code, std::string_view text) const {
  say(kFailed, static_cast<std::uint64_t>(code), text);
}

void ChildReports::end(const Result<void>& outcome) const {
  outcome ? done() : failed(outcome.error().code, outcome.error().describe());
  // Not through what libraries do at exit.
  ::_exit(outcome ? 0 : 1);
}

namespace {

void take_report(std::span<const std::byte> bytes, std::uint64_t total_bytes,
                 const std::function<void(std::uint64_t)>& on_progress, std::optional<Result<void>>& said) {
  ByteReader reader{bytes};
  const auto report = reader.read<Report>();
  if (!reader.ok()) return;
  if (report.kind == kProgress) on_progress(std::min(report.value, total_bytes));
  if (report.kind == kDone) said.emplace();
  if (report.kind == kFailed) {
    const bool known = report.value > 0 && report.value <= kMaxErrno;
    said.emplace(fail(known ? static_cast<int>(report.value) : EIO, printable_lines(as_text(reader.rest()))));
  }
}

}  // namespace

Result<std::optional<Result<void>>> hear_reports(const WalledChild& child, std::uint64_t total_bytes,
                                                 const std::function<void(std::uint64_t)>& on_progress,
                                                 const std::function<Result<void>()>& look_up) {
  std::array<std::byte, kMaxReportBytes> room;
  std::optional<Result<void>> said;
  for (;;) {
    const ssize_t got = ::recv(child.socket(), room.data(), room.size(), 0);
    const int code = errno;
    if (got > 0)
      take_report(std::span<const std::byte>(room).first(static_cast<std::size_t>(got)), total_bytes,
                  on_progress, said);
    if (look_up) LB_TRY(look_up());
    if (got == 0 || (got < 0 && code != EINTR && code != EAGAIN)) return said;
  }
}

}  // namespace layerboot
