// One client of the AgentBroker; the inside of agent_broker.h.
#pragma once

#include <array>
#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "launcher/agent/agent_broker.h"

namespace layerboot::launcher {

/// Lives as long as the broker lists it, or a write is on its way.
class AgentBroker::Client : public std::enable_shared_from_this<Client> {
 public:
  Client(AgentBroker& broker, std::uint32_t id, UniqueFd socket, std::optional<SessionShares::Id> share);

  /// Reads one piece, unless that is being done already.
  void read();
  /// From the guest. False when the client is too far behind for what it has granted.
  [[nodiscard]] bool deliver(const guest_init::Frame& frame);
  /// The session could not run, or can't go on.
  void fail(std::string_view why);
  /// The broker no longer knows the client.
  void disown() { broker_ = nullptr; }
  /// Something of the session is known to the guest, and it is not over.
  [[nodiscard]] bool in_guest() const { return in_guest_; }
  /// Whose connection it is, of the forwards.
  [[nodiscard]] std::optional<SessionShares::Id> share() const { return share_; }

 private:
  void handle(const guest_init::Frame& frame);
  void write();
  void leave();

  AgentBroker* broker_;
  std::uint32_t id_;
  std::optional<SessionShares::Id> share_;
  boost::asio::posix::stream_descriptor socket_;
  guest_init::FrameDecoder decoder_;
  std::array<char, guest_init::kMaxPayloadBytes> buffer_{};
  std::string out_;
  std::string writing_;
  bool reading_ = false;
  bool in_guest_ = false;
  bool over_ = false;  // closed when all is written
};

}  // namespace layerboot::launcher
