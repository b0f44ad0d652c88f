#include "guest-init/agent_session.h"

#include <sys/ioctl.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>

#include "guest-init/exit_codes.h"

namespace guest_init {

namespace {

constexpr std::uint32_t kGrantBytes = kWindowBytes / 4;  // fewer, larger grants

/// The key that ends input on this terminal, Ctrl-D as a rule.
char end_key(int terminal) {
  termios settings{};
  if (tcgetattr(terminal, &settings) != 0 || settings.c_cc[VEOF] == 0) return 4;
  return static_cast<char>(settings.c_cc[VEOF]);
}

}  // namespace

Session::Session(std::uint32_t id, bool main, Stdio stdio, Spawned spawned)
    : id_(id), main_(main), terminal_(stdio == Stdio::kTerminal), program_(std::move(spawned)) {}

void Session::add_polls(std::vector<pollfd>& polls, bool may_read) const {
  if (!exited_) polls.push_back({program_.pidfd.get(), POLLIN, 0});
  if (program_.input && !pending_input_.empty()) polls.push_back({program_.input.get(), POLLOUT, 0});
  if (!may_read || output_credit_ == 0) return;
  if (program_.output) polls.push_back({program_.output.get(), POLLIN, 0});
  if (program_.error) polls.push_back({program_.error.get(), POLLIN, 0});
}

void Session::pump(std::string& out, bool may_read) {
  look_for_end();
  if (hung_up_) {
    over_ = exited_;
    return;
  }
  pump_input(out);
  if (!may_read) return;
  bool more = false;
  if (program_.output) more = pump_output(program_.output, FrameType::kOutput, out) || more;
  if (program_.error) more = pump_output(program_.error, FrameType::kError, out) || more;
  if (!exited_ || more || over_) return;
  append_number(out, id_, FrameType::kExit, static_cast<std::uint32_t>(exit_code_));
  over_ = true;
}

void Session::look_for_end() {
  if (exited_) return;
  int status = 0;
  const pid_t ended = waitpid(program_.pid, &status, WNOHANG);
  if (ended == 0 || (ended < 0 && errno == EINTR)) return;
  exited_ = true;
  if (ended > 0) exit_code_ = WIFSIGNALED(status) ? kSignalExit + WTERMSIG(status) : WEXITSTATUS(status);
}

void Session::pump_input(std::string& out) {
  if (!program_.input) return;
  while (!pending_input_.empty()) {
    const ssize_t written = write(program_.input.get(), pending_input_.data(), pending_input_.size());
    if (written < 0 && (errno == EAGAIN || errno == EINTR)) return;
    // A program that closed its input throws the rest away, as a pipe would.
    const std::size_t taken = written < 0 ? pending_input_.size() : static_cast<std::size_t>(written);
    pending_input_.erase(0, taken);
    consumed_ += static_cast<std::uint32_t>(taken);
  }
  if (consumed_ >= kGrantBytes) {
    append_number(out, id_, FrameType::kCredit, consumed_);
    input_credit_ += consumed_;
    consumed_ = 0;
  }
  if (!input_ended_) return;
  if (terminal_) {
    const char key = end_key(program_.input.get());
    if (write(program_.input.get(), &key, 1) < 0 && errno == EAGAIN) return;
  }
  program_.input.reset();
}

bool Session::pump_output(Fd& from, FrameType type, std::string& out) {
  if (output_credit_ == 0) return true;
  char piece[kMaxPayloadBytes];
  const std::size_t room = std::min<std::size_t>(sizeof(piece), output_credit_);
  const ssize_t got = read(from.get(), piece, room);
  if (got > 0) {
    append_frame(out, id_, type, {piece, static_cast<std::size_t>(got)});
    output_credit_ -= static_cast<std::uint32_t>(got);
    return true;
  }
  // A program it has left behind may hold the stream open; what that says is nobody's any more.
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return !exited_;
  from.reset();  // its end; EIO for a terminal whose last user is gone
  return false;
}

bool Session::input(std::string_view bytes) {
  if (bytes.size() > input_credit_) return false;
  input_credit_ -= static_cast<std::uint32_t>(bytes.size());
  if (input_ended_ || !program_.input) {
    consumed_ += static_cast<std::uint32_t>(bytes.size());
    return true;
  }
  pending_input_ += bytes;
  return true;
}

void Session::resize(std::uint16_t rows, std::uint16_t columns) {
  winsize size{};
  size.ws_row = rows;
  size.ws_col = columns;
  if (terminal_ && program_.output) ioctl(program_.output.get(), TIOCSWINSZ, &size);
}

void Session::signal_group(int number) const {
  if (exited_) return;
  pid_t group = program_.pid;
  if (terminal_ && program_.output) ioctl(program_.output.get(), TIOCGPGRP, &group);
  if (group > 1) kill(-group, number);
}

void Session::signal_program(int number) const {
  if (!exited_) kill(program_.pid, number);
}

bool Session::grant(std::uint32_t bytes) {
  if (bytes > kWindowBytes - output_credit_) return false;
  output_credit_ += bytes;
  return true;
}

void Session::hang_up() {
  if (hung_up_) return;
  signal_group(SIGHUP);
  hung_up_ = true;
  program_.input.reset();
  program_.output.reset();
  program_.error.reset();
  pending_input_.clear();
}

void Session::detach_telling(std::string& out) {
  append_number(out, id_, FrameType::kExit, 0);
  detach();
}

void Session::detach() {
  hung_up_ = true;
  detached_ = true;
}

}  // namespace guest_init
