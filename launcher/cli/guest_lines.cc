#include "launcher/cli/guest_lines.h"

#include <unistd.h>

#include <array>
#include <cerrno>
#include <string>

#include "launcher/agent/guest_words.h"
#include "oci-mount/base/log.h"

namespace layerboot::launcher {

GuestLines::GuestLines(Pipe pipe) : pipe_(std::move(pipe)), telling_([this] { tell(); }) {}

GuestLines::~GuestLines() {
  pipe_.write_end.reset();
  telling_.join();
}

Result<std::unique_ptr<GuestLines>> GuestLines::begin() {
  LB_ASSIGN(Pipe pipe, make_pipe());
  return std::unique_ptr<GuestLines>(new GuestLines(std::move(pipe)));
}

void GuestLines::tell() const {
  std::string line;
  std::array<char, kMaxGuestWordsBytes> piece{};
  for (;;) {
    const ssize_t got = ::read(pipe_.read_end.get(), piece.data(), piece.size());
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
