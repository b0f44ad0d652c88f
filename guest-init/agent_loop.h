// The agent's loop: the port, the sessions, the power button.
#pragma once

#include <list>
#include <string>
#include <vector>

#include "guest-init/agent.h"
#include "guest-init/agent_session.h"
#include "guest-init/fd.h"
#include "guest-init/power_button.h"

namespace guest_init {

/// Single-threaded; lives as long as the process.
class AgentLoop {
 public:
  /// Above this much waiting for the host, neither sessions nor the port are read.
  static constexpr std::size_t kMaxOutBytes = 4 * (kMaxPayloadBytes + kHeaderBytes);
  /// How long the port may take to appear, and then the host to speak, before an image's command is run on
  /// the console instead.
  static constexpr int kPortWaitMs = 10'000;
  /// Between the stop signal and SIGKILL; between a hang-up and SIGKILL.
  static constexpr int kStopGraceMs = 10'000;
  static constexpr int kHangUpGraceMs = 5'000;

  /// `root`: the image's root directory, lent.
  AgentLoop(const AgentPlan& plan, int root) : plan_(plan), root_(root) {}

  [[noreturn]] void run();

 private:
  void open_port();
  void wait_once();
  void read_port();
  void write_port();
  void handle(const Frame& frame);
  void handle_hello(const Frame& frame);
  void size_console(const Frame& frame);
  void tell_whether_console_is_heard();
  void handle_session(Session& session, const Frame& frame);
  void take_request(const Frame& frame);
  void start(std::uint32_t id);
  void start_main_on_console();
  void refuse(std::uint32_t id, int code, std::string_view why);
  void pump_sessions();
  /// What was said last goes out, and the process ends.
  [[noreturn]] void leave();
  /// False, and why, where it does not start.
  bool run_on_console(const std::vector<std::string>& command, std::string& why);
  void on_power_button();
  void shut_down(bool asked_by_host);
  void check_deadlines();
  Session* find(std::uint32_t id);

  struct Request {
    std::uint32_t id;
    std::string bytes;
  };

  const AgentPlan& plan_;
  int root_;
  Fd port_;
  Fd signals_;
  PowerButton button_;
  Fd console_;  // once it was given a size
  FrameDecoder decoder_;
  std::string out_;
  std::list<Session> sessions_;
  std::vector<Request> requests_;  // not started yet
  bool main_started_ = false;
  std::int64_t begun_ms_ = 0;
  std::int64_t stop_at_ms_ = 0;          // 0: the image's power script has not been started
  std::int64_t kill_main_at_ms_ = 0;     // 0: not asked to stop
  std::int64_t kill_hung_up_at_ms_ = 0;  // 0: none
};

}  // namespace guest_init
