#include "launcher/vm/control_client.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

#include <csignal>
#include <string>

#include "launcher/host/input_wait.h"
#include "launcher/host/pidfd.h"
#include "launcher/host/unix_socket.h"

namespace layerboot::launcher {

using nlohmann::json;

bool is_nobody(const Error& error) { return error.code == ENOENT || error.code == ECONNREFUSED; }

Result<ControlClient> ControlClient::connect(const std::filesystem::path& path) {
  LB_ASSIGN(UniqueFd socket, connect_to(path));
  const timeval patience{.tv_sec = kPatience.count(), .tv_usec = 0};
  for (const int option : {SO_RCVTIMEO, SO_SNDTIMEO}) {
    ::setsockopt(socket.get(), SOL_SOCKET, option, &patience, sizeof(patience));
  }
  const pid_t peer = peer_of(socket);
  if (peer <= 0) return fail(ESRCH, "who listens at ", path.string(), " is in another PID namespace");
  auto pidfd = open_pidfd(peer);
  // It may have ended since it was connected to.
  if (!pidfd && pidfd.error().code == ESRCH) return fail(ECONNREFUSED, path.string(), ": it has just ended");
  if (!pidfd) return std::unexpected(pidfd.error());
  return ControlClient(std::move(socket), *std::move(pidfd));
}

Result<json> ControlClient::ask(const ControlRequest& request) {
  const std::string line = control_request_line(request);
  if (::send(socket_.get(), line.data(), line.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(line.size())) {
    return errno_error("cannot ask the VM's supervisor");
  }
  return read_answer();
}

Result<json> ControlClient::hear(std::chrono::milliseconds bound) {
  LB_TRY(wait_for_input(socket_, bound));
  return read_answer();
}

Result<void> ControlClient::end_input() {
  if (::shutdown(socket_.get(), SHUT_WR) != 0) return errno_error("the VM's supervisor");
  return {};
}

Result<json> ControlClient::read_answer() {
  std::string text;
  while (!text.ends_with('\n') && text.size() <= kMaxControlLineBytes) {
    // Byte by byte: what follows the line is the console's, and for another reader.
    char c = 0;
    const ssize_t got = ::recv(socket_.get(), &c, 1, 0);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && errno == EAGAIN) {
      return fail(ETIMEDOUT, "the VM's supervisor did not answer within ", kPatience.count(), " s");
    }
    if (got < 0) return errno_error("the VM's supervisor did not answer");
    if (got == 0) return fail(EPIPE, "the VM's supervisor ended before it answered");
    text += c;
  }
  json answer = json::parse(text, nullptr, false);
  if (!answer.is_object()) return fail(EPROTO, "the VM's supervisor gave no sensible answer");
  if (const auto error = answer.find("error"); error != answer.end()) {
    return fail(EAGAIN, error->is_string() ? error->get<std::string>() : "the VM's supervisor refused");
  }
  return answer;
}

Result<bool> ControlClient::wait_end(std::chrono::milliseconds bound) const {
  const auto end = std::chrono::steady_clock::now() + bound;
  for (;;) {
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(end - std::chrono::steady_clock::now());
    pollfd watched{.fd = pidfd_.get(), .events = POLLIN, .revents = 0};
    const int got = ::poll(&watched, 1, static_cast<int>(std::max<std::int64_t>(left.count(), 0)));
    if (got > 0) return true;
    if (got == 0) return false;
    if (errno != EINTR) return errno_error("poll");
  }
}

void ControlClient::kill_supervisor() const {
  ::syscall(SYS_pidfd_send_signal, pidfd_.get(), SIGKILL, nullptr, 0U);
}

}  // namespace layerboot::launcher
