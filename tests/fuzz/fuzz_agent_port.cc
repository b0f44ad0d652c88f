// Any bytes as what the guest's agent says on its port, to the broker and to sessions of it.
//
// Input: steps. One byte of what is done; of a frame another one of its type, one of whose, and a size; of
// raw bytes a size.
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <boost/asio/io_context.hpp>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "launcher/agent/agent_broker.h"
#include "launcher/agent/guest_words.h"
#include "launcher/agent/session_client.h"
#include "launcher/host/unix_socket.h"
#include "oci-mount/base/bytes.h"
#include "oci-mount/base/files.h"
#include "oci-mount/base/log.h"

namespace layerboot::launcher {
namespace {

using guest_init::FrameType;

constexpr std::size_t kMaxSteps = 256;
constexpr std::size_t kMaxSessions = 6;

void check(bool holds) {
  if (!holds) std::abort();
}

struct Joined {
  std::unique_ptr<SessionClient> client;
  std::optional<SessionEnd> end;
};

class Port {
 public:
  Port() {
    auto ends = socket_pair();
    check(ends.has_value());
    guest_ = std::move(ends->second);
    broker_ = std::make_unique<AgentBroker>(
        io_, std::move(ends->first),
        AgentBroker::Handlers{.greeted = [](guest_init::GuestKind) {}, .closed = [] {}});
    check(broker_->start().has_value());
    work();
  }
  void step(ByteReader& input) {
    switch (input.read<std::uint8_t>() % 8) {
      case 0:
        join();
        break;
      case 1:
        hear(true);
        break;
      case 2:
        hear(false);
        break;
      case 3:
        broker_->guest_reset();
        break;
      case 4: {
        const std::size_t size_bytes = std::min<std::size_t>(input.read<std::uint8_t>(), input.rest().size());
        const auto bytes = input.take(size_bytes);
        say({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
        break;
      }
      case 5:
        (void)broker_->power_off();
        break;
      default: {
        const auto type = static_cast<FrameType>(input.read<std::uint8_t>() % 16);
        const std::uint32_t whose = input.read<std::uint8_t>() % (kMaxSessions + 2);
        const std::size_t copies = std::size_t{1} << (input.read<std::uint8_t>() % 12);
        const std::size_t size_bytes = std::min<std::size_t>(input.read<std::uint8_t>(), input.rest().size());
        const auto bytes = input.take(size_bytes);
        std::string frame;
        for (std::size_t i = 0; i < copies && frame.size() < guest_init::kMaxPayloadBytes; ++i)
          guest_init::append_frame(frame, whose, type,
                                   {reinterpret_cast<const char*>(bytes.data()), bytes.size()});
        say(frame);
        break;
      }
    }
    work();
    for (const auto& joined : sessions_) {
      if (joined->end) check(joined->end->failure.find('\n') == std::string::npos);
      if (joined->end) check(joined->end->failure.size() <= 2 * kMaxGuestWordsBytes);
    }
  }

 private:
  void work() {
    io_.restart();
    io_.poll();
  }
  void join() {
    if (sessions_.size() == kMaxSessions) return;
    auto ends = socket_pair();
    check(ends && broker_->adopt(std::move(ends->first)));
    sessions_.push_back(std::make_unique<Joined>());
    Joined* const joined = sessions_.back().get();
    joined->client = std::make_unique<SessionClient>(
        io_, std::move(ends->second), SessionStdio{.input = -1, .output = nowhere_->get(), .error = -1},
        [joined](SessionEnd end) { joined->end = std::move(end); });
    guest_init::SessionRequest request;
    request.arguments = {"true"};
    check(joined->client->start(request).has_value());
  }
  /// What is said to the guest; with `answer`, hellos are answered.
  void hear(bool answer) {
    std::array<char, 4096> piece{};
    const ssize_t got = ::recv(guest_.get(), piece.data(), piece.size(), MSG_DONTWAIT);
    if (got <= 0) return;
    decoder_.feed({piece.data(), static_cast<std::size_t>(got)});
    while (const auto frame = decoder_.next()) {
      if (frame->type != FrameType::kHello) continue;
      decoder_.accept();
      const auto hello = guest_init::decode_hello(frame->payload);
      std::string bytes;
      if (hello) guest_init::append_hello(bytes, *hello);
      if (answer) say(bytes);
    }
    check(!decoder_.take_broken());
  }
  void say(std::string_view bytes) {
    [[maybe_unused]] const ssize_t sent =
        ::send(guest_.get(), bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    work();
  }

  boost::asio::io_context io_{1};
  Result<UniqueFd> nowhere_ = open_path("/dev/null", O_WRONLY);
  UniqueFd guest_;
  guest_init::FrameDecoder decoder_;
  std::unique_ptr<AgentBroker> broker_;
  std::vector<std::unique_ptr<Joined>> sessions_;
};

}  // namespace
}  // namespace layerboot::launcher

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace layerboot;
  log_setup("fuzz", LogLevel::kError);
  launcher::Port port;
  ByteReader input({reinterpret_cast<const std::byte*>(data), size});
  for (std::size_t i = 0; i < launcher::kMaxSteps && !input.rest().empty(); ++i) port.step(input);
  return 0;
}
