#include "launcher/cli/guest_lines.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <string>

#include "launcher/agent/guest_words.h"
#include "oci-mount/base/log.h"

namespace layerboot::launcher {

GuestLines::GuestLines(UniqueFd read_end, UniqueFd write_end)
    : read_end_(std::move(read_end)), write_end_(std::move(write_end)), telling_([this] { tell(); }) {}

GuestLines::~GuestLines() {
  write_end_.reset();
  telling_.join();
}

Result<std::unique_ptr<GuestLines>> GuestLines::begin() {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return errno_error("pipe");
  return std::unique_ptr<GuestLines>(new GuestLines(UniqueFd(ends[0]), UniqueFd(ends[1])));
}

void GuestLines::tell() const {
  std::string line;
  std::array<char, kMaxGuestWordsBytes> piece{};
  for (;;) {
    const ssize_t got = ::read(read_end_.get(), piece.data(), piece.size());
    if (got < 0 && errno == EINTR) continue;
    for (ssize_t i = 0; i < got; ++i) {
      const char c = piece.at(static_cast<std::size_t>(i));
      if (c != '\n') line += c;
      if (c != '\n' && line.size() < kMaxGuestWordsBytes) continue;
      if (!line.empty()) log_error(guest_words(line));
      line.clear();
    }
    if (got > 0) continue;
    if (!line.empty()) log_error(guest_words(line));
    return;
  }
}

}  // namespace layerboot::launcher
