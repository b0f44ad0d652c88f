// AgentBroker: shares the guest's agent among any number of processes of the host.
#pragma once

#include <array>
#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "guest-init/agent_protocol.h"
#include "launcher/agent/session_shares.h"
#include "launcher/host/window_size.h"
#include "oci-mount/base/log_limit.h"
#include "oci-mount/base/result.h"
#include "oci-mount/base/unique_fd.h"

namespace layerboot::launcher {

/// Owns the host's end of the agent's port and a listening Unix socket. A connection there is one session:
/// the frames of guest-init/agent_protocol.h without a hello, whose session numbers the broker replaces by
/// its own. Clients wait until the guest has answered our hello. The guest is not trusted: what it sends more
/// than a client has granted ends that session, and nothing it sends makes memory grow. On one io_context's
/// thread; no callback runs after destruction.
class AgentBroker {
 public:
  static constexpr std::size_t kMaxClients = guest_init::kMaxSessions;
  /// A client's window twice over, and room for what is no data.
  static constexpr std::size_t kMaxToClientBytes = 3 * std::size_t{guest_init::kWindowBytes};
  /// Above this much on its way to the guest, clients are not read.
  static constexpr std::size_t kMaxToGuestBytes = std::size_t{256} << 10;

  struct Handlers {
    /// The guest has answered: once for each of its boots.
    std::function<void(guest_init::GuestKind)> greeted;
    /// The answer to ask_who_hears(): whether somebody does. Once for each question.
    std::function<void(bool heard)> hearing = {};
    /// The port is closed and all it said is handed on: QEMU is gone.
    std::function<void()> closed;
  };

  /// `port` is our end of the port's socket.
  AgentBroker(boost::asio::io_context& io, UniqueFd port, Handlers handlers);
  ~AgentBroker();
  AgentBroker(const AgentBroker&) = delete;
  AgentBroker& operator=(const AgentBroker&) = delete;

  /// Listens at `path`, which must be free, for this user alone; removes it at the end.
  Result<void> listen(const std::filesystem::path& path);
  /// Says hello to the guest and serves.
  Result<void> start();
  /// A client that is connected already. EBUSY past kMaxClients.
  Result<void> adopt(UniqueFd client);
  /// The same for a connection to a forward, which is one of shares(). EBUSY without has_room().
  Result<void> adopt_forwarded(UniqueFd client, SessionShares::Id share);
  [[nodiscard]] bool has_room(SessionShares::Id share) const {
    return clients_.size() < kMaxClients && shares_->has_room(share);
  }
  /// Called whenever a session has ended. May outlive the broker.
  [[nodiscard]] const std::shared_ptr<SessionShares>& shares() const { return shares_; }

  /// The guest has reset itself: its sessions are over, and it has to be greeted anew.
  void guest_reset();
  /// Asks the agent to shut the guest down in order. False before the guest has answered.
  bool power_off();
  /// Tells the agent the size of the console's terminal. Nothing before the guest has answered.
  void set_console_window(WindowSize size);
  /// Asks the agent whether anybody hears what is typed at the console. False before the guest has answered.
  bool ask_who_hears();

 private:
  class Client;
  friend class Client;

  void add(UniqueFd client, std::optional<SessionShares::Id> share);
  void greet();
  void read_port();
  void handle(const guest_init::Frame& frame);
  void handle_hello(const guest_init::Frame& frame);
  void handle_hearing(const guest_init::Frame& frame);
  void to_guest(std::uint32_t session, guest_init::FrameType type, std::string_view payload);
  void write_port();
  void accept();
  void end_all(std::string_view why);
  void forget(std::uint32_t id);
  [[nodiscard]] bool guest_is_behind() const { return to_guest_.size() + writing_.size() > kMaxToGuestBytes; }

  boost::asio::io_context& io_;
  boost::asio::posix::stream_descriptor port_;
  boost::asio::posix::stream_descriptor listener_;
  std::filesystem::path path_;
  Handlers handlers_;
  guest_init::Nonce nonce_{};
  guest_init::FrameDecoder decoder_;
  std::array<char, guest_init::kMaxPayloadBytes> from_port_{};
  std::string to_guest_;
  std::string writing_;  // the part of it on its way
  std::map<std::uint32_t, std::shared_ptr<Client>> clients_;
  std::uint32_t last_id_ = 0;
  bool asks_who_hears_ = false;
  std::shared_ptr<SessionShares> shares_ = std::make_shared<SessionShares>();
  LogLimit broken_;  // conversations
  LogLimit other_version_;
  std::shared_ptr<AgentBroker*> self_;
};

}  // namespace layerboot::launcher
