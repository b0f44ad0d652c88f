#include "launcher/agent/session_client.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/buffer.hpp>
#include <boost/asio/write.hpp>
#include <csignal>
#include <cstdlib>

#include "guest-init/exit_codes.h"
#include "guest-init/records.h"
#include "launcher/agent/guest_words.h"
#include "oci-mount/base/log.h"

namespace layerboot::launcher {

using boost::system::error_code;
using guest_init::Frame;
using guest_init::FrameType;
using guest_init::kNotStarted;

Result<void> ask_for_terminal(guest_init::SessionRequest& request) {
  winsize size{};
  if (::isatty(STDIN_FILENO) == 0) return fail(EINVAL, "standard input is no terminal: leave out --tty");
  ::ioctl(STDIN_FILENO, TIOCGWINSZ, &size);
  request.terminal = true;
  request.rows = size.ws_row;
  request.columns = size.ws_col;
  // First, so that a variable that was asked for counts.
  if (const char* kind = std::getenv("TERM"); kind != nullptr)
    request.environment.insert(request.environment.begin(), str_cat("TERM=", std::string_view(kind)));
  return {};
}

Result<void> check_request_fits(const guest_init::SessionRequest& request) {
  const std::string records = guest_init::encode_request(request);
  const auto number = static_cast<std::size_t>(std::ranges::count(records, '\0'));
  if (records.size() <= guest_init::kMaxRecordsBytes && number <= guest_init::kMaxRecords) return {};
  return fail(E2BIG, "the command and its environment have ", records.size(), " bytes in ", number,
              " words: a VM takes ", guest_init::kMaxRecordsBytes, " in ", guest_init::kMaxRecords,
              "; hand the rest over in a file, by --volume");
}

/// What the program says, on its way to one of our streams. At most a window, since credit follows the
/// writing.
struct SessionClient::Sink {
  Sink(boost::asio::io_context& io, int fd) : stream(io, fd, O_WRONLY) {}

  LentDescriptor stream;
  std::string waiting;
  std::string writing;
};

SessionClient::SessionClient(boost::asio::io_context& io, UniqueFd socket, SessionStdio stdio,
                             std::function<void(SessionEnd)> ended)
    : socket_(io),
      stdio_(stdio),
      ended_(std::move(ended)),
      output_(stdio.output < 0 ? nullptr : std::make_unique<Sink>(io, stdio.output)),
      error_(stdio.error < 0 ? nullptr : std::make_unique<Sink>(io, stdio.error)),
      self_(std::make_shared<SessionClient*>(this)) {
  error_code failed;
  socket_.assign(socket.get(), failed);
  if (!failed) [[maybe_unused]]
    const int given = socket.release();
  if (stdio.input >= 0) input_ = std::make_unique<LentDescriptor>(io, stdio.input, O_RDONLY);
  decoder_.accept();
}

SessionClient::~SessionClient() = default;

Result<void> SessionClient::start(const guest_init::SessionRequest& request) {
  if (!socket_.is_open()) return fail(EBADF, "cannot watch the session's socket");
  LB_TRY(check_request_fits(request));
  if (request.terminal) {
    LB_ASSIGN(auto terminal, RawTerminal::enter(stdio_.input));
    if (terminal) terminal_.emplace(*std::move(terminal));
  }
  send(FrameType::kRequest, guest_init::encode_request(request));
  send(FrameType::kStart, {});
  // Again: the terminal may have changed after it was asked and before anyone listened for that.
  if (request.terminal) send_window();
  if (!input_ || !input_->usable()) {
    input_.reset();
    send_input();
  }
  read_input();
  read_socket();
  return {};
}

void SessionClient::send_signal(int number) {
  send_number(FrameType::kSignal, static_cast<std::uint32_t>(number));
}

void SessionClient::send_window() {
  winsize size{};
  if (::ioctl(stdio_.input, TIOCGWINSZ, &size) != 0) return;
  send_number(FrameType::kWindow, std::uint32_t{size.ws_row} | std::uint32_t{size.ws_col} << 16U);
}

void SessionClient::send(FrameType type, std::string_view payload) {
  if (end_) return;
  guest_init::append_frame(to_socket_, 0, type, payload);
  write_socket();
}

void SessionClient::send_number(FrameType type, std::uint32_t number) {
  send(type, {reinterpret_cast<const char*>(&number), sizeof(number)});
}

void SessionClient::write_socket() {
  if (!writing_.empty() || to_socket_.empty()) return;
  writing_.swap(to_socket_);
  boost::asio::async_write(socket_, boost::asio::buffer(writing_),
                           [weak = std::weak_ptr(self_)](error_code error, std::size_t) {
                             const auto alive = weak.lock();
                             if (!alive) return;
                             SessionClient& self = **alive;
                             self.writing_.clear();
                             if (error) return;  // the reader sees the end too
                             self.write_socket();
                             self.grant();
                             self.send_input();
                             self.read_input();
                           });
}

void SessionClient::read_socket() {
  socket_.async_read_some(boost::asio::buffer(from_socket_),
                          [weak = std::weak_ptr(self_)](error_code error, std::size_t size_bytes) {
                            const auto alive = weak.lock();
                            if (!alive || error == boost::asio::error::operation_aborted) return;
                            SessionClient& self = **alive;
                            if (error) return self.finish({kNotStarted, "the connection to the VM was lost"});
                            self.decoder_.feed({self.from_socket_.data(), size_bytes});
                            while (const auto frame = self.decoder_.next()) self.handle(*frame);
                            if (self.decoder_.take_broken())
                              return self.finish({kNotStarted, "the VM's agent makes no sense"});
                            if (self.overrun_)
                              return self.finish({kNotStarted, "the VM sends more than it was granted"});
                            if (!self.end_) return self.read_socket();
                            self.finish_if_written();
                          });
}

void SessionClient::handle(const Frame& frame) {
  const auto number = guest_init::decode_number(frame.payload);
  switch (frame.type) {
    case FrameType::kOutput:
    case FrameType::kError: {
      // A guest that keeps to its credit can't get here; one that does not must not fill our memory.
      overrun_ = overrun_ || frame.payload.size() > granted_bytes_;
      if (overrun_) return;
      granted_bytes_ -= frame.payload.size();
      Sink* const sink = (frame.type == FrameType::kOutput ? output_ : error_).get();
      if (sink == nullptr) {
        owed_bytes_ += frame.payload.size();
        return grant();
      }
      sink->waiting += frame.payload;
      return write_sink(*sink);
    }
    case FrameType::kCredit:
      credit_ += std::min(number.value_or(0), guest_init::kWindowBytes - credit_);
      send_input();
      return read_input();
    case FrameType::kExit:
      // Eight bits are what a process can end with.
      end_ = SessionEnd{.exit_code = static_cast<int>(number.value_or(kNotStarted) & 0xffU), .failure = {}};
      return;
    case FrameType::kFailed:
      end_ = SessionEnd{
          .exit_code = static_cast<int>(number.value_or(kNotStarted) & 0xffU),
          .failure = one_line(frame.payload.substr(std::min<std::size_t>(4, frame.payload.size())))};
      return;
    default:
      return;
  }
}

void SessionClient::read_input() {
  // Somebody who watches it is told of what the guest does not take yet, too.
  const std::size_t room = typed_             ? kMaxUntakenBytes - untaken_.size()
                           : untaken_.empty() ? std::size_t{credit_}
                                              : 0;
  if (!input_ || reading_input_ || room == 0 || end_) return;
  reading_input_ = true;
  input_->stream().async_read_some(
      boost::asio::buffer(from_input_.data(), std::min(from_input_.size(), room)),
      [weak = std::weak_ptr(self_)](error_code error, std::size_t size_bytes) {
        auto alive = weak.lock();
        if (!alive) return;
        SessionClient& self = **alive;
        // Whoever is told of the input may destroy the client, which shows when nobody holds this.
        alive.reset();
        self.reading_input_ = false;
        if (!error) return self.take_input(size_bytes);
        self.input_.reset();
        self.send_input();
      });
}

/// Of from_input_.
void SessionClient::take_input(std::size_t size_bytes) {
  const std::string_view text(from_input_.data(), size_bytes);
  if (const auto typed = typed_) {
    const std::weak_ptr weak(self_);
    typed(text);
    if (weak.expired()) return;
  }
  untaken_ += text;
  send_input();
  read_input();
}

/// As much as the guest takes, and the end behind the last.
void SessionClient::send_input() {
  if (is_behind()) return;
  const std::size_t size_bytes = std::min<std::size_t>(untaken_.size(), credit_);
  if (size_bytes != 0) {
    credit_ -= static_cast<std::uint32_t>(size_bytes);
    send(FrameType::kInput, std::string_view(untaken_).substr(0, size_bytes));
    untaken_.erase(0, size_bytes);
  }
  if (!input_ && untaken_.empty() && !std::exchange(input_ended_, true)) send(FrameType::kInputEnd, {});
}

void SessionClient::write_sink(Sink& sink) {
  if (!sink.writing.empty() || sink.waiting.empty()) return;
  sink.writing.swap(sink.waiting);
  boost::asio::async_write(sink.stream.stream(), boost::asio::buffer(sink.writing),
                           [weak = std::weak_ptr(self_), &sink](error_code error, std::size_t) {
                             const auto alive = weak.lock();
                             if (!alive) return;
                             SessionClient& self = **alive;
                             self.owed_bytes_ += sink.writing.size();
                             sink.writing.clear();
                             // As a program ends that writes where nobody reads.
                             if (error) return self.finish({guest_init::kSignalExit + SIGPIPE, ""});
                             self.grant();
                             self.write_sink(sink);
                             if (self.end_) self.finish_if_written();
                           });
}

/// In one frame for all that was written while the guest was behind.
void SessionClient::grant() {
  if (owed_bytes_ == 0 || is_behind() || end_) return;
  const std::size_t owed = std::exchange(owed_bytes_, 0);
  granted_bytes_ += owed;
  send_number(FrameType::kCredit, static_cast<std::uint32_t>(owed));
}

std::size_t SessionClient::unwritten_bytes() const {
  std::size_t bytes = 0;
  for (const Sink* sink : {output_.get(), error_.get()}) {
    if (sink != nullptr) bytes += sink->writing.size() + sink->waiting.size();
  }
  return bytes;
}

void SessionClient::finish_if_written() {
  if (unwritten_bytes() == 0) finish(*end_);
}

void SessionClient::finish(SessionEnd end) {
  end_ = end;
  terminal_.reset();
  error_code ignored;
  socket_.close(ignored);
  // Once, and this object may be gone afterwards.
  if (const auto ended = std::exchange(ended_, nullptr)) ended(std::move(end));
}

}  // namespace layerboot::launcher
