#include "launcher/supervise/pause_lease.h"

#include <sys/socket.h>

#include <boost/asio/buffer.hpp>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>

#include "oci-mount/base/log.h"

namespace layerboot::launcher {

using boost::system::error_code;
using nlohmann::json;

PauseLease::PauseLease(boost::asio::io_context& io, UniqueFd peer, Execute execute,
                       std::function<void()> over)
    : peer_(io),
      execute_(std::move(execute)),
      over_(std::move(over)),
      self_(std::make_shared<PauseLease*>(this)) {
  error_code error;
  peer_.assign(peer.get(), error);
  if (error) {
    wanted_no_more_ = true;
  } else {
    [[maybe_unused]] const int given = peer.release();
    watch_peer();
  }
  execute_("stop", [weak = std::weak_ptr(self_)](const Result<void>& outcome) {
    if (const auto alive = weak.lock()) (*alive)->stopped(outcome);
  });
}

void PauseLease::watch_peer() {
  peer_.async_read_some(boost::asio::buffer(ignored_),
                        [weak = std::weak_ptr(self_)](error_code error, std::size_t) {
                          const auto alive = weak.lock();
                          if (!alive || error == boost::asio::error::operation_aborted) return;
                          (*alive)->wanted_no_more_ = true;
                          (*alive)->go_on();
                        });
}

void PauseLease::stopped(const Result<void>& outcome) {
  if (!outcome) {
    say({{"error", outcome.error().describe()}});
    return std::exchange(over_, nullptr)();
  }
  is_stopped_ = true;
  if (wanted_no_more_) return go_on();
  say({{"state", "paused"}});
}

void PauseLease::break_off(std::string_view why) {
  if (broken_off_.empty()) broken_off_ = why;
  wanted_no_more_ = true;
  go_on();
}

void PauseLease::go_on() {
  if (!is_stopped_ || std::exchange(going_on_, true)) return;
  execute_("cont", [weak = std::weak_ptr(self_)](const Result<void>& outcome) {
    const auto alive = weak.lock();
    if (!alive) return;
    PauseLease& self = **alive;
    if (!outcome)
      log_error("the VM stands still, and QEMU does not let it go on: ", outcome.error().describe());
    if (!outcome) self.broken_off_ = outcome.error().describe();
    self.say(self.broken_off_.empty() ? json{{"state", "running"}} : json{{"error", self.broken_off_}});
    std::exchange(self.over_, nullptr)();
  });
}

void PauseLease::say(const json& line) {
  if (!peer_.is_open()) return;
  const std::string text = line.dump(-1, ' ', false, json::error_handler_t::replace) + "\n";
  // Two short lines at most: they fit an empty socket buffer.
  [[maybe_unused]] const auto sent =
      ::send(peer_.native_handle(), text.data(), text.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
}

}  // namespace layerboot::launcher
