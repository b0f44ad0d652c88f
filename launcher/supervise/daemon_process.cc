#include "launcher/supervise/daemon_process.h"

#include <fcntl.h>
#include <unistd.h>

#include <boost/asio/buffer.hpp>
#include <string_view>
#include <utility>
#include <vector>

#include "launcher/host/unix_socket.h"
#include "launcher/supervise/ready_line.h"

namespace layerboot::launcher {

using boost::system::error_code;

Result<std::unique_ptr<DaemonProcess>> DaemonProcess::start(boost::asio::io_context& io,
                                                            const ChildSpec& spec, bool connected,
                                                            std::chrono::milliseconds patience,
                                                            Handlers handlers) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return errno_error("pipe");
  UniqueFd read_end(ends[0]);
  const UniqueFd write_end(ends[1]);
  std::vector<int> inherited = {write_end.get()};
  std::pair<UniqueFd, UniqueFd> sockets;
  if (connected) {
    LB_ASSIGN(sockets, socket_pair());
    inherited.push_back(sockets.second.get());
  }
  LB_ASSIGN(auto words, ChildWords::open(io, spec));
  LB_ASSIGN(Child child, Child::spawn(words->with_output(spec), inherited));
  words->started();
  std::unique_ptr<DaemonProcess> daemon(
      new DaemonProcess(io, std::move(words), std::move(child), std::move(handlers)));
  daemon->socket_ = std::move(sockets.first);
  daemon->patience_ = patience;
  daemon->watch_ = std::make_unique<ExitWatch>(io, daemon->process_.pidfd(),
                                               [ended = daemon->handlers_.ended] { ended(); });
  error_code error;
  daemon->ready_pipe_.assign(read_end.get(), error);
  if (error) return fail(EIO, "cannot watch ", daemon->label(), ": ", error.message());
  [[maybe_unused]] const int given = read_end.release();
  daemon->read_ready();
  return daemon;
}

void DaemonProcess::read_ready() {
  ready_pipe_.async_read_some(boost::asio::buffer(buffer_),
                              [weak = std::weak_ptr(self_)](error_code error, std::size_t size_bytes) {
                                const auto alive = weak.lock();
                                if (!alive || error == boost::asio::error::operation_aborted) return;
                                if (error) return (*alive)->pipe_closed();
                                (*alive)->hear_ready(size_bytes);
                              });
}

void DaemonProcess::hear_ready(std::size_t size_bytes) {
  text_.append(buffer_.data(), size_bytes);
  const std::size_t end = text_.find('\n');
  if (end == std::string::npos && text_.size() < kMaxReadyLineBytes) return read_ready();
  const auto said =
      end == std::string::npos ? std::nullopt : parse_ready_line(std::string_view(text_).substr(0, end));
  ready_ = said.has_value();
  if (ready_) {
    if (said->since_indexes_open)
      indexes_open_ = std::chrono::steady_clock::now() - *said->since_indexes_open;
    return handlers_.ready();
  }
  handlers_.failed(Error{EPROTO, str_cat(label(), " said something else than that it is ready")});
}

void DaemonProcess::pipe_closed() {
  // As a rule its end follows, and tells more.
  timer_.expires_after(patience_);
  timer_.async_wait([weak = std::weak_ptr(self_)](error_code error) {
    const auto alive = weak.lock();
    if (!alive || error) return;
    const DaemonProcess& self = **alive;
    self.handlers_.failed(Error{EPROTO, str_cat(self.label(), " runs, but did not say that it is ready")});
  });
}

}  // namespace layerboot::launcher
