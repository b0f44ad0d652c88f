#include "launcher/agent/guest_still.h"

#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <string>
#include <utility>

#include "guest-init/freeze_upper.h"
#include "guest-init/workload.h"
#include "launcher/agent/guest_words.h"
#include "launcher/host/input_wait.h"
#include "launcher/host/unix_socket.h"

namespace layerboot::launcher {

using guest_init::FrameType;

namespace {

constexpr std::size_t kMaxWordBytes = 4096;

using std::chrono::milliseconds;
using std::chrono::steady_clock;

}  // namespace

Result<GuestStill> GuestStill::begin(const std::filesystem::path& agent_socket,
                                     std::chrono::milliseconds patience) {
  LB_ASSIGN(UniqueFd socket, connect_to(agent_socket));
  GuestStill still(std::move(socket), patience);
  guest_init::SessionRequest request;
  request.freeze = true;
  std::string bytes;
  guest_init::append_frame(bytes, 0, FrameType::kRequest, guest_init::encode_request(request));
  guest_init::append_frame(bytes, 0, FrameType::kStart, {});
  LB_TRY(still.send(bytes));
  const auto late = steady_clock::now() + patience;
  std::string said;
  while (said.find('\n') == std::string::npos && said.size() < kMaxWordBytes) {
    LB_ASSIGN(const std::string more, still.hear(late));
    if (more.empty()) break;
    said += more;
  }
  still.is_frozen_ = said == guest_init::kSaysFrozen;
  if (still.is_frozen_ || said == guest_init::kSaysSynced) return still;
  return fail(EPROTO,
              "the VM's agent does not know how to hold the guest still: it was started by an older "
              "layerboot, restart it");
}

Result<void> GuestStill::send(std::string_view bytes) {
  if (::send(socket_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(bytes.size()))
    return {};
  return errno_error("the VM's agent");
}

Result<std::string> GuestStill::hear(steady_clock::time_point late) {
  for (;;) {
    while (const auto frame = decoder_.next()) {
      if (frame->type == FrameType::kOutput) return std::string(frame->payload);
      if (frame->type == FrameType::kError && said_wrong_.size() < kMaxWordBytes)
        said_wrong_ += frame->payload;
      if (frame->type == FrameType::kFailed)
        return fail(EIO, one_line(frame->payload.substr(std::min<std::size_t>(4, frame->payload.size()))));
      if (frame->type != FrameType::kExit) continue;
      if (guest_init::decode_number(frame->payload) == 0U) return std::string();
      return fail(EIO, said_wrong_.empty() ? "the guest did not stand still" : guest_words(said_wrong_));
    }
    if (decoder_.take_broken()) return fail(EPROTO, "the VM's agent makes no sense");
    // However much it says meanwhile.
    const auto left = std::chrono::duration_cast<milliseconds>(late - steady_clock::now());
    auto waited = left > milliseconds(0)
                      ? wait_for_input(socket_, left)
                      : Result<void>(fail(ETIMEDOUT, "no answer within ", patience_.count() / 1000, " s"));
    if (!waited) return while_doing(waited.error(), "the VM's agent");
    std::array<char, guest_init::kMaxPayloadBytes> piece{};
    const ssize_t got = ::recv(socket_.get(), piece.data(), piece.size(), 0);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return fail(EPIPE, "the VM ended");
    decoder_.feed({piece.data(), static_cast<std::size_t>(got)});
  }
}

Result<void> GuestStill::end() {
  std::string bytes;
  guest_init::append_frame(bytes, 0, FrameType::kInputEnd, {});
  LB_TRY(send(bytes));
  LB_ASSIGN(const std::string rest, hear(steady_clock::now() + patience_));
  if (rest.empty()) return {};
  return fail(EPROTO, "the VM's agent makes no sense");
}

}  // namespace layerboot::launcher
