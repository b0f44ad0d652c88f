// Session: one program that the host has started in the guest, as the agent keeps it.
#pragma once

#include <poll.h>

#include <cstdint>
#include <ctime>
#include <string>
#include <string_view>
#include <vector>

#include "guest-init/agent_protocol.h"
#include "guest-init/spawn.h"

namespace guest_init {

/// Moves bytes between the program and frames for the host. Output is read only as far as the host has
/// granted credit; input is kept, up to one window, until the program takes it.
class Session {
 public:
  Session(std::uint32_t id, bool main, Stdio stdio, Spawned spawned);

  [[nodiscard]] std::uint32_t id() const { return id_; }
  [[nodiscard]] bool main() const { return main_; }
  [[nodiscard]] pid_t pid() const { return program_.pid; }

  /// What to wait for; `may_read`: there is room for output towards the host.
  void add_polls(std::vector<pollfd>& polls, bool may_read) const;
  /// Moves what can be moved without waiting, one piece a stream, and appends frames to `out`.
  void pump(std::string& out, bool may_read);

  /// From the host. False when it sends more than was granted.
  [[nodiscard]] bool input(std::string_view bytes);
  void input_end() { input_ended_ = true; }
  void resize(std::uint16_t rows, std::uint16_t columns);
  /// To the foreground process group of its terminal, else to the program's own group.
  void signal_group(int number) const;
  /// To the program alone.
  void signal_program(int number) const;
  [[nodiscard]] bool grant(std::uint32_t bytes);
  /// Nobody listens: its streams are closed, it gets SIGHUP.
  void hang_up();
  /// Nobody listens, and it may go on. The host is told, if it is to hear of it, that this is the session's
  /// end.
  void detach();
  void detach_telling(std::string& out);
  [[nodiscard]] bool hung_up() const { return hung_up_ && !detached_; }
  [[nodiscard]] bool detached() const { return detached_; }

  /// Ended and all it said is in frames; kExit has been appended.
  [[nodiscard]] bool over() const { return over_; }
  [[nodiscard]] int exit_code() const { return exit_code_; }

 private:
  void pump_input(std::string& out);
  /// False at the stream's end, or when nothing more can come of a program that has ended.
  bool pump_output(Fd& from, FrameType type, std::string& out);
  void look_for_end();

  std::uint32_t id_;
  bool main_;
  bool terminal_;
  Spawned program_;
  std::string pending_input_;
  std::uint32_t input_credit_ = kWindowBytes;  // what the host may still send
  std::uint32_t consumed_ = 0;                 // taken by the program, not granted anew yet
  std::uint32_t output_credit_ = kWindowBytes;
  bool input_ended_ = false;
  bool exited_ = false;
  bool hung_up_ = false;
  bool detached_ = false;
  bool over_ = false;
  int exit_code_ = 0;
};

}  // namespace guest_init
