// DaemonProcess: one vfsd of ours, from its start to its end.
#pragma once

#include <array>
#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "launcher/host/child.h"
#include "launcher/host/exit_watch.h"
#include "launcher/supervise/child_words.h"
#include "oci-mount/base/result.h"
#include "oci-mount/base/unique_fd.h"

namespace layerboot::launcher {

/// On one io_context's thread. No callback runs after destruction, which kills a daemon that still runs.
class DaemonProcess {
 public:
  struct Handlers {
    std::function<void()> ready;               // once
    std::function<void(const Error&)> failed;  // it runs, but will not become ready
    std::function<void()> ended;               // once; wait() gives its status
  };

  /// Starts it with kVfsdReadyFd and, if `connected`, with a socket to its VM as kVfsdSocketFd. `patience`
  /// bounds how long a daemon may live on that has closed the one without a word.
  static Result<std::unique_ptr<DaemonProcess>> start(boost::asio::io_context& io, const ChildSpec& spec,
                                                      bool connected, std::chrono::milliseconds patience,
                                                      Handlers handlers);
  DaemonProcess(const DaemonProcess&) = delete;
  DaemonProcess& operator=(const DaemonProcess&) = delete;
  ~DaemonProcess() = default;

  /// The VM's end of the socket. Once.
  UniqueFd take_socket() { return std::move(socket_); }
  [[nodiscard]] bool ready() const { return ready_; }
  /// When its image was open, if it has told.
  [[nodiscard]] std::optional<std::chrono::steady_clock::time_point> indexes_open() const {
    return indexes_open_;
  }
  [[nodiscard]] const std::string& label() const { return process_.label(); }
  [[nodiscard]] pid_t pid() const { return process_.pid(); }
  void send(int signal_number) const { process_.send(signal_number); }
  /// After `ended`, once. All that it has said is told then.
  ExitStatus wait() {
    const ExitStatus status = process_.wait();
    words_->finish();
    return status;
  }
  /// As Child::leave(): `ended` is not called any more.
  void leave() {
    watch_.reset();
    process_.leave();
  }

 private:
  DaemonProcess(boost::asio::io_context& io, std::unique_ptr<ChildWords> words, Child process,
                Handlers handlers)
      : words_(std::move(words)),
        process_(std::move(process)),
        handlers_(std::move(handlers)),
        ready_pipe_(io),
        timer_(io),
        self_(std::make_shared<DaemonProcess*>(this)) {}
  void read_ready();
  void hear_ready(std::size_t size_bytes);
  void pipe_closed();

  std::unique_ptr<ChildWords> words_;  // before the process, which may speak until its end
  Child process_;
  Handlers handlers_;
  UniqueFd socket_;
  std::unique_ptr<ExitWatch> watch_;
  boost::asio::posix::stream_descriptor ready_pipe_;
  boost::asio::steady_timer timer_;
  std::chrono::milliseconds patience_{};
  std::array<char, 64> buffer_{};
  std::string text_;
  bool ready_ = false;
  std::shared_ptr<DaemonProcess*> self_;  // gone with us: what is over may not have been told yet
  std::optional<std::chrono::steady_clock::time_point> indexes_open_;
};

}  // namespace layerboot::launcher
