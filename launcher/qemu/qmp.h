// QmpClient: QEMU's control protocol on a connected socket.
//
// Follows QEMU's docs/interop/qmp-spec: a greeting, qmp_capabilities, then commands with an id and their
// replies, with events in between.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <variant>

#include "oci-mount/base/result.h"
#include "oci-mount/base/unique_fd.h"

namespace layerboot::launcher {

/// What one line from QEMU says.
struct QmpGreeting {};
struct QmpReply {
  std::uint64_t id = 0;
  Result<void> outcome;  // the error is QEMU's own wording
};
struct QmpEvent {
  std::string name;    // "SHUTDOWN"
  bool guest = false;  // data.guest: the guest itself asked for it
};
using QmpMessage = std::variant<QmpGreeting, QmpReply, QmpEvent>;

/// Pure. EPROTO for what is none of the three.
Result<QmpMessage> parse_qmp_line(std::string_view line);

/// One connection, on one io_context's thread. Callbacks run there, never from inside a call of ours; none
/// runs after destruction. They must not destroy the client.
class QmpClient {
 public:
  /// A longer line is not QMP; the connection is given up.
  static constexpr std::size_t kMaxLineBytes = std::size_t{1} << 20;
  /// Commands that may wait for their reply; more fail with EBUSY.
  static constexpr std::size_t kMaxPending = 32;

  using Done = std::function<void(Result<void>)>;

  QmpClient(boost::asio::io_context& io, UniqueFd socket);
  ~QmpClient();
  QmpClient(const QmpClient&) = delete;
  QmpClient& operator=(const QmpClient&) = delete;

  /// Set before start().
  void on_event(std::function<void(const QmpEvent&)> handler) { on_event_ = std::move(handler); }
  /// Called once, when QEMU takes commands; it runs, and the guest begins.
  void on_greeted(std::function<void()> handler) { on_greeted_ = std::move(handler); }
  /// Called once: QEMU closed the connection (an empty Error text), or it broke.
  void on_closed(std::function<void(const Error&)> handler) { on_closed_ = std::move(handler); }
  void start();

  /// Sends a command; before the greeting it waits its turn. `done` gets QEMU's answer, or EPIPE when the
  /// connection ended first.
  void execute(std::string_view command, Done done) { execute(command, {}, std::move(done)); }
  /// The same with `arguments`, a JSON object.
  void execute(std::string_view command, std::string_view arguments, Done done);

 private:
  void read_more();
  void handle_lines();
  void handle(QmpMessage message);
  void send(std::string_view order, Done done);
  void write_next();
  void close(const Error& reason);

  boost::asio::posix::stream_descriptor socket_;
  std::function<void(const QmpEvent&)> on_event_;
  std::function<void()> on_greeted_;
  std::function<void(const Error&)> on_closed_;
  std::string input_;
  std::deque<std::string> output_;  // the front is being written
  std::map<std::uint64_t, Done> pending_;
  std::deque<std::pair<std::string, Done>> before_greeting_;
  std::uint64_t next_id_ = 1;
  bool greeted_ = false;
  bool negotiated_ = false;
  bool closed_ = false;
  // Handlers hold a weak reference: what completes after destruction does nothing.
  std::shared_ptr<QmpClient*> self_;
};

}  // namespace layerboot::launcher
