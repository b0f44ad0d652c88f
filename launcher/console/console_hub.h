// ConsoleHub: one guest's serial line, shared by its log and any number of people.
#pragma once

#include <array>
#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "launcher/console/console_log.h"
#include "oci-mount/base/result.h"
#include "oci-mount/base/unique_fd.h"

namespace layerboot::launcher {

/// On one io_context's thread. What the guest says goes to the log and to every client; what clients type
/// goes to the guest. No callback runs after destruction.
class ConsoleHub {
 public:
  static constexpr std::size_t kChunkBytes = 4096;
  static constexpr std::size_t kMaxClients = 16;
  /// A client that is further behind the guest than this is let go, unless it is one the guest waits for.
  static constexpr std::size_t kMaxBehindBytes = std::size_t{1} << 20;

  enum class Role {
    kPrimary,  // the terminal that the VM was started in: the guest waits for it
    kTyping,   // sees and types
    kReading,  // sees only
  };

  /// `guest` is our end of the serial line's socket; `log` is lent, and may be null.
  ConsoleHub(boost::asio::io_context& io, UniqueFd guest, ConsoleLog* log);
  ~ConsoleHub();
  ConsoleHub(const ConsoleHub&) = delete;
  ConsoleHub& operator=(const ConsoleHub&) = delete;

  /// Sees all that the guest says, as it comes, before the clients do. Set before start().
  void on_text(std::function<void(std::string_view)> handler) { on_text_ = std::move(handler); }
  /// Called once, when the guest's end is closed and all clients have what it said. Set before start().
  void on_closed(std::function<void()> handler) { on_closed_ = std::move(handler); }
  void start();

  /// As if the guest said it.
  void say(std::string_view text) { heard(text); }
  /// EBUSY past kMaxClients. A client leaves by closing its end.
  Result<void> attach(UniqueFd socket, Role role);

 private:
  class Client;

  void read_guest();
  void heard(std::string_view text);
  void go_on();
  void typed(const std::shared_ptr<Client>& client, std::string text);
  void write_guest();
  void forget(const Client* client);
  [[nodiscard]] bool must_wait() const;

  boost::asio::io_context& io_;
  boost::asio::posix::stream_descriptor guest_;
  ConsoleLog* log_;
  std::function<void(std::string_view)> on_text_;
  std::function<void()> on_closed_;
  std::array<char, kChunkBytes> from_guest_{};
  std::vector<std::shared_ptr<Client>> clients_;
  // A client reads on when its text is written, so there is at most one entry each, and those of some who
  // left.
  std::deque<std::pair<std::weak_ptr<Client>, std::string>> to_guest_;
  bool reading_ = false;
  bool ended_ = false;
  std::shared_ptr<ConsoleHub*> self_;
};

}  // namespace layerboot::launcher
