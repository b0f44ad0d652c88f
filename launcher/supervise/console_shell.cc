#include "launcher/supervise/console_shell.h"

#include <unistd.h>

#include <chrono>
#include <utility>

#include "oci-mount/base/str_cat.h"

namespace layerboot::launcher {

ConsoleShell::ConsoleShell(boost::asio::io_context& io, Console& console, int input, int output,
                           std::function<void()> over)
    : io_(io), console_(console), input_(input), output_(output), over_(std::move(over)) {}

ConsoleShell::~ConsoleShell() {
  session_.reset();
  console_.take_terminal_back();
}

Result<void> ConsoleShell::start(UniqueFd socket) {
  guest_init::SessionRequest request;
  request.arguments = {"/bin/sh"};
  request.user = "0";
  LB_TRY(ask_for_terminal(request));
  console_.lend_terminal();
  say("\r\n[a shell in the VM; exit, or Ctrl-] three times within a second, goes back to its console]\r\n");
  session_ = std::make_unique<SessionClient>(
      io_, std::move(socket), SessionStdio{.input = input_, .output = output_, .error = output_},
      [this](const SessionEnd& end) { ended(end); });
  session_->watch_input([this](std::string_view text) { typed(text); });
  return session_->start(request);
}

void ConsoleShell::window_changed() {
  if (session_) session_->send_window();
}

/// To a terminal, by whose owner we were just asked.
void ConsoleShell::say(std::string_view text) const {
  [[maybe_unused]] const ssize_t told = ::write(output_, text.data(), text.size());
}

/// The way out of a guest that hangs: nothing is asked of it.
void ConsoleShell::typed(std::string_view text) {
  if (escape_.feed(text, std::chrono::steady_clock::now()) != Escape::kLeave) return;
  session_.reset();
  ended({});
}

void ConsoleShell::ended(const SessionEnd& end) {
  if (!end.failure.empty()) say(str_cat("\r\nno shell in the VM: ", end.failure, "\r\n"));
  say("\r\n[back at the VM's console]\r\n");
  console_.take_terminal_back();
  // The session is in the middle of telling us, and goes with this object.
  if (const auto over = std::exchange(over_, nullptr)) over();
}

}  // namespace layerboot::launcher
