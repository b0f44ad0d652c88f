// SessionClient: joins one session of the guest's agent to this process's standard input, output and error.
#pragma once

#include <array>
#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "guest-init/agent_protocol.h"
#include "guest-init/workload.h"
#include "launcher/host/lent_descriptor.h"
#include "launcher/host/raw_terminal.h"
#include "oci-mount/base/result.h"
#include "oci-mount/base/unique_fd.h"

namespace layerboot::launcher {

/// How a session ended: the program's exit code, or 125, 126, 127 with why it did not run.
struct SessionEnd {
  int exit_code = 0;
  std::string failure;  // one line (guest_words.h)
};

struct SessionStdio {
  int input = -1;   // lent; below 0: the program's input is at its end from the start
  int output = -1;  // below 0: what the program says there is dropped
  int error = -1;
};

/// Asks for a terminal in the guest like the one on standard input: its size and its TERM. EINVAL when
/// standard input is none.
Result<void> ask_for_terminal(guest_init::SessionRequest& request);

/// E2BIG when the guest would refuse the request for its size: too many or too long arguments and variables.
Result<void> check_request_fits(const guest_init::SessionRequest& request);

/// On one io_context's thread; no callback runs after destruction. A terminal in the request makes the one on
/// `input` raw for as long as the object lives.
class SessionClient {
 public:
  static constexpr std::size_t kChunkBytes = 8192;
  /// Of an input that is watched, so much is read on while the guest takes nothing.
  static constexpr std::size_t kMaxUntakenBytes = std::size_t{64} << 10;
  /// Above this much on its way to the guest, nothing that the guest itself calls forth follows: credit for
  /// what it says, and input for its credit. A guest that does not read can't make it grow.
  static constexpr std::size_t kMaxToGuestBytes = std::size_t{64} << 10;

  /// `socket` leads to an AgentBroker. `ended` is called once; it may destroy the client.
  SessionClient(boost::asio::io_context& io, UniqueFd socket, SessionStdio stdio,
                std::function<void(SessionEnd)> ended);
  ~SessionClient();
  SessionClient(const SessionClient&) = delete;
  SessionClient& operator=(const SessionClient&) = delete;

  /// `typed` sees what comes from the input before it goes to the guest; it may destroy the client, and then
  /// it does not go there.
  void watch_input(std::function<void(std::string_view)> typed) { typed_ = std::move(typed); }
  /// E2BIG as check_request_fits().
  Result<void> start(const guest_init::SessionRequest& request);
  void send_signal(int number);
  /// Tells the guest the size that the terminal has now.
  void send_window();

 private:
  struct Sink;

  void send(guest_init::FrameType type, std::string_view payload);
  void send_number(guest_init::FrameType type, std::uint32_t number);
  void write_socket();
  void read_socket();
  void handle(const guest_init::Frame& frame);
  void read_input();
  void take_input(std::size_t size_bytes);
  void send_input();
  void write_sink(Sink& sink);
  void grant();
  [[nodiscard]] bool is_behind() const { return to_socket_.size() + writing_.size() > kMaxToGuestBytes; }
  [[nodiscard]] std::size_t unwritten_bytes() const;
  void finish(SessionEnd end);
  void finish_if_written();

  boost::asio::posix::stream_descriptor socket_;
  SessionStdio stdio_;
  std::function<void(SessionEnd)> ended_;
  std::function<void(std::string_view)> typed_;
  std::unique_ptr<LentDescriptor> input_;
  std::unique_ptr<Sink> output_;
  std::unique_ptr<Sink> error_;
  std::optional<RawTerminal> terminal_;
  guest_init::FrameDecoder decoder_;
  std::array<char, guest_init::kMaxPayloadBytes> from_socket_{};
  std::array<char, kChunkBytes> from_input_{};
  std::string to_socket_;
  std::string writing_;
  std::uint32_t credit_ = guest_init::kWindowBytes;
  bool reading_input_ = false;
  bool input_ended_ = false;  // the guest knows
  std::string untaken_;       // of the input, what there is no credit for
  std::optional<SessionEnd> end_;
  std::size_t granted_bytes_ = guest_init::kWindowBytes;  // that the guest may say yet
  std::size_t owed_bytes_ = 0;                            // written, and not granted anew yet
  bool overrun_ = false;                                  // the guest has said more than it was granted
  std::shared_ptr<SessionClient*> self_;
};

}  // namespace layerboot::launcher
