// ConsoleShell: a shell in the guest, by its agent, on the terminal that shows the guest's console.
#pragma once

#include <boost/asio/io_context.hpp>
#include <functional>
#include <memory>
#include <string_view>

#include "launcher/agent/session_client.h"
#include "launcher/console/console.h"
#include "oci-mount/base/result.h"
#include "oci-mount/base/unique_fd.h"

namespace layerboot::launcher {

/// Has the terminal for as long as the shell runs, and until the person leaves it by Escape::kLeave, whatever
/// the guest does; the console gets it back at its end, or with this object. On one io_context's thread.
class ConsoleShell {
 public:
  /// `console` must outlive this; `input` and `output` are lent. `over` is called once, after the console has
  /// its terminal again; it may destroy this object.
  ConsoleShell(boost::asio::io_context& io, Console& console, int input, int output,
               std::function<void()> over);
  ~ConsoleShell();
  ConsoleShell(const ConsoleShell&) = delete;
  ConsoleShell& operator=(const ConsoleShell&) = delete;

  /// `socket` leads to the VM's agent (agent_broker.h).
  Result<void> start(UniqueFd socket);
  /// The terminal has another size.
  void window_changed();

 private:
  void say(std::string_view text) const;
  void typed(std::string_view text);
  void ended(const SessionEnd& end);

  boost::asio::io_context& io_;
  Console& console_;
  int input_;
  int output_;
  std::function<void()> over_;
  EscapeDetector escape_;
  std::unique_ptr<SessionClient> session_;
};

}  // namespace layerboot::launcher
