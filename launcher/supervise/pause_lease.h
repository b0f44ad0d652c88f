// PauseLease: QEMU's processors stand still for as long as somebody keeps a connection.
#pragma once

#include <array>
#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <functional>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

#include "oci-mount/base/result.h"
#include "oci-mount/base/unique_fd.h"

namespace layerboot::launcher {

/// Stops QEMU, tells the peer `{"state":"paused"}`, and lets QEMU go on when the peer ends its side, says
/// anything, or is gone; tells it `{"state":"running"}` then. An `error` instead of one of them says why not.
/// QEMU stops its devices with its processors: each daemon has then done what it was asked for. On one
/// io_context's thread; no callback runs after destruction, which by itself lets nothing go on.
class PauseLease {
 public:
  /// Runs a QMP command without arguments; what it is given is called with QEMU's answer, later.
  using Execute = std::function<void(std::string_view command, std::function<void(Result<void>)> done)>;

  /// `over` is called once, when QEMU goes on or could not be stopped.
  PauseLease(boost::asio::io_context& io, UniqueFd peer, Execute execute, std::function<void()> over);
  PauseLease(const PauseLease&) = delete;
  PauseLease& operator=(const PauseLease&) = delete;

  /// Lets the VM go on whatever the peer wants, to whom this is an error.
  void break_off(std::string_view why);

 private:
  void watch_peer();
  void stopped(const Result<void>& outcome);
  void go_on();
  void say(const nlohmann::json& line);

  boost::asio::posix::stream_descriptor peer_;
  Execute execute_;
  std::function<void()> over_;
  std::array<char, 16> ignored_{};
  std::string broken_off_;
  bool is_stopped_ = false;
  bool wanted_no_more_ = false;
  bool going_on_ = false;
  // Handlers hold a weak reference: what completes after destruction does nothing.
  std::shared_ptr<PauseLease*> self_;
};

}  // namespace layerboot::launcher
