#include "launcher/supervise/restart_pause.h"

#include <unistd.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <csignal>
#include <nlohmann/json.hpp>

#include "launcher/supervise/control_server.h"

namespace layerboot::launcher {

using boost::system::error_code;
using nlohmann::json;

Result<bool> pause_before_restart(const std::filesystem::path& control_socket,
                                  std::chrono::milliseconds pause) {
  boost::asio::io_context io(1);
  bool go_on = true;
  const auto give_up = [&] {
    go_on = false;
    io.stop();
  };
  boost::asio::signal_set signals(io, SIGINT, SIGTERM, SIGHUP);
  error_code ignored;
  signals.add(SIGQUIT, ignored);
  signals.async_wait([&](error_code error, int) {
    if (!error) give_up();
  });
  const auto answer = [&](const ControlRequest& request) -> Result<json> {
    switch (request.verb) {
      case ControlVerb::kStatus:
        return json{{"state", "restarting"},
                    {"pid", ::getpid()},
                    {"qemu_pid", nullptr},
                    {"daemons", json::array()},
                    {"timing", json::array()}};
      case ControlVerb::kStop:
      case ControlVerb::kKill:
        give_up();
        return json::object();
      default:
        return fail(EAGAIN, "it is between two runs");
    }
  };
  LB_ASSIGN(const auto control,
            ControlServer::listen(io, control_socket, answer, [](UniqueFd, ControlVerb) {}));
  boost::asio::steady_timer timer(io, pause);
  timer.async_wait([&](error_code error) {
    if (!error) io.stop();
  });
  io.run();
  return go_on;
}

}  // namespace layerboot::launcher
