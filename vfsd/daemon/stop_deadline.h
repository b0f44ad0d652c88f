// StopDeadline: how long an end is waited for.
//
// A directory in place, or an image's layers, may lie on a file system that does not answer: what asks it
// waits for good, and with it whoever waits for that to end, SIGTERM's handler or a VMM that wants something
// of a queue. Then the process ends without, as if it had been killed: what an upper was told to keep is with
// the host, and no mark of a clean stop is there.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <thread>

namespace layerboot::vfsd {

/// Has a thread of its own, which nothing else can hold up. Thread-safe, but for the destructor.
class StopDeadline {
 public:
  /// Less than a launcher waits before it kills.
  static constexpr std::chrono::seconds kPatience{20};

  /// How often something has answered so far, while an answer of it is waited for; else nothing.
  using Answers = std::function<std::optional<std::uint64_t>()>;
  /// `what` is said not to answer. From SIGTERM or SIGINT on, the process has `patience` to end in order.
  /// `waits` is called on a thread of its own: where an answer has come in time, or something else is waited
  /// for, all has as much time again. Empty: it is always `what`, which has not answered.
  explicit StopDeadline(std::string what, Answers waits = {}, std::chrono::milliseconds patience = kPatience);
  ~StopDeadline();
  StopDeadline(const StopDeadline&) = delete;
  StopDeadline& operator=(const StopDeadline&) = delete;

  /// What to do before the process ends, on the deadline's thread: its end may take as long as what does not
  /// answer. May be empty.
  void set_last_act(std::function<void()> act);

  /// So long has what comes between these two.
  void begin();
  void end();

 private:
  /// Belongs to the thread, as all below.
  void start_timer();

  const std::string what_;
  const Answers waits_;
  const std::chrono::milliseconds patience_;
  boost::asio::io_context io_{1};
  boost::asio::signal_set signals_{io_};
  boost::asio::steady_timer timer_{io_};
  bool is_last_ = false;  // the process is to end
  std::function<void()> last_act_;
  std::thread thread_;
};

}  // namespace layerboot::vfsd
