#include "vfsd/daemon/stop_deadline.h"

#include <unistd.h>

#include <boost/asio/post.hpp>
#include <csignal>
#include <utility>

#include "oci-mount/base/log.h"

namespace layerboot::vfsd {

StopDeadline::StopDeadline(std::string what, Answers waits, std::chrono::milliseconds patience)
    : what_(std::move(what)), waits_(std::move(waits)), patience_(patience) {
  for (const int signal : {SIGTERM, SIGINT}) {
    boost::system::error_code error;
    signals_.add(signal, error);
    if (error) log_warn("signal ", signal, " can't be waited for: ", error.message());
  }
  signals_.async_wait([this](boost::system::error_code error, int) {
    if (error) return;
    is_last_ = true;
    start_timer();
  });
  thread_ = std::thread([this] {
    const auto work = boost::asio::make_work_guard(io_);
    io_.run();
  });
}

StopDeadline::~StopDeadline() {
  io_.stop();
  thread_.join();
}

void StopDeadline::set_last_act(std::function<void()> act) {
  boost::asio::post(io_, [this, act = std::move(act)]() mutable { last_act_ = std::move(act); });
}

void StopDeadline::begin() {
  boost::asio::post(io_, [this] { start_timer(); });
}

void StopDeadline::end() {
  boost::asio::post(io_, [this] {
    if (!is_last_) timer_.cancel();
  });
}

void StopDeadline::start_timer() {
  const auto before = waits_ ? waits_() : std::nullopt;
  timer_.expires_after(patience_);
  timer_.async_wait([this, before](boost::system::error_code error) {
    if (error) return;
    if (waits_) {
      const auto now = waits_();
      if (!now || now != before) return start_timer();
    }
    log_error(what_, " does not answer: ending without it; what the guest has not synced may be lost");
    if (last_act_) last_act_();
    ::_exit(1);
  });
}

}  // namespace layerboot::vfsd
