#include "guest-init/agent_loop.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <ctime>

#include "guest-init/console.h"
#include "guest-init/console_hearing.h"
#include "guest-init/exit_codes.h"
#include "guest-init/files.h"
#include "guest-init/init_choice.h"
#include "guest-init/no_udev.h"
#include "guest-init/open_in_root.h"
#include "guest-init/records.h"
#include "guest-init/serial_console.h"
#include "guest-init/session_group.h"

namespace guest_init {

namespace {

constexpr int kPortRetryMs = 50;
constexpr int kNoHostRetryMs = 1'000;
constexpr std::int64_t kPowerScriptMs = 10'000;  // for an image's own to ask for the end
constexpr unsigned kLastWordsSeconds = 5;
// SIGRTMIN+4 as systemd counts, which is not as this program's C library does.
constexpr int kSystemdPowerOff = 38;

std::int64_t now_ms() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return std::int64_t{now.tv_sec} * 1000 + now.tv_nsec / 1'000'000;
}

/// The device of the port with our name: empty when there is none (yet).
std::string find_port(int root) {
  const int directory = openat(root, "sys/class/virtio-ports", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  DIR* stream = directory < 0 ? nullptr : fdopendir(directory);
  if (!stream) return {};
  std::string found;
  while (const dirent* entry = readdir(stream)) {
    std::string name = read_text_at(directory, std::string(entry->d_name) + "/name");
    while (!name.empty() && name.back() == '\n') name.pop_back();
    if (name == kAgentPort) found = std::string("dev/") + entry->d_name;
  }
  closedir(stream);
  return found;
}

Fd watch_termination() {
  for (const int ignored : {SIGPIPE, SIGHUP, SIGINT}) std::signal(ignored, SIG_IGN);
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigprocmask(SIG_SETMASK, &signals, nullptr);
  return Fd(signalfd(-1, &signals, SFD_NONBLOCK | SFD_CLOEXEC));
}

}  // namespace

void AgentLoop::run() {
  begun_ms_ = now_ms();
  signals_ = watch_termination();
  // systemd's logind hears the power button by itself, where there is a bus to talk to it and a udev that
  // shows it the button.
  const bool logind = plan_.init_is_systemd && has_message_bus(root_) && has_udev(root_);
  if (plan_.power_button && !logind) button_.open(root_);
  if (plan_.port >= 0) port_ = Fd(plan_.port);
  for (;;) {
    if (!port_ && plan_.port_expected) open_port();
    wait_once();
    signalfd_siginfo signal{};
    if (read(signals_.get(), &signal, sizeof(signal)) > 0) shut_down(false);
    if (button_.pressed()) on_power_button();
    read_port();
    pump_sessions();
    write_port();
    check_deadlines();
  }
}

void AgentLoop::open_port() {
  const std::string device = find_port(root_);
  if (!device.empty()) port_ = Fd(openat(root_, device.c_str(), O_RDWR | O_NONBLOCK | O_CLOEXEC));
}

void AgentLoop::wait_once() {
  std::vector<pollfd> polls = {{signals_.get(), POLLIN, 0}};
  button_.add_polls(polls);
  const bool room = out_.size() < kMaxOutBytes;
  for (const auto& session : sessions_) session.add_polls(polls, room);
  const bool waiting = plan_.kind == GuestKind::kCommand && !main_started_;
  int timeout_ms = -1;
  if (waiting || stop_at_ms_ != 0 || kill_main_at_ms_ != 0 || kill_hung_up_at_ms_ != 0)
    timeout_ms = kNoHostRetryMs;
  if (!port_ && plan_.port_expected)
    timeout_ms = now_ms() - begun_ms_ < kPortWaitMs ? kPortRetryMs : kNoHostRetryMs;
  if (port_) {
    pollfd port{port_.get(), static_cast<short>((room ? POLLIN : 0) | (out_.empty() ? 0 : POLLOUT)), 0};
    // Without a host at its other end the port is always "ready" to say so.
    if (poll(&port, 1, 0) == 1 && (port.revents & (POLLIN | POLLOUT)) == 0) {
      timeout_ms = kNoHostRetryMs;
    } else {
      polls.push_back(port);
    }
  }
  poll(polls.data(), polls.size(), timeout_ms);
}

void AgentLoop::read_port() {
  if (!port_ || out_.size() >= kMaxOutBytes) return;
  char piece[kMaxPayloadBytes];
  const ssize_t got = read(port_.get(), piece, sizeof(piece));
  if (got <= 0) return;
  decoder_.feed({piece, static_cast<std::size_t>(got)});
  while (const auto frame = decoder_.next()) handle(*frame);
  if (decoder_.take_broken()) note("the agent: what the host sends is no frame");
}

void AgentLoop::write_port() {
  while (port_ && !out_.empty()) {
    const ssize_t written = write(port_.get(), out_.data(), out_.size());
    if (written <= 0) return;
    out_.erase(0, static_cast<std::size_t>(written));
  }
}

Session* AgentLoop::find(std::uint32_t id) {
  const auto at = std::find_if(sessions_.begin(), sessions_.end(), [id](const Session& session) {
    return session.id() == id && !session.hung_up() && !session.detached();
  });
  return at == sessions_.end() ? nullptr : &*at;
}

void AgentLoop::handle(const Frame& frame) {
  switch (frame.type) {
    case FrameType::kHello:
      return handle_hello(frame);
    case FrameType::kRequest:
      return take_request(frame);
    case FrameType::kStart:
      return start(frame.session);
    case FrameType::kPowerOff:
      return shut_down(true);
    case FrameType::kWindow:
      if (frame.session == 0) return size_console(frame);
      break;
    case FrameType::kSignal:
      if (frame.session == 0) return tell_whether_console_is_heard();
      break;
    default:
      break;
  }
  // A frame for a session that has just ended is nothing unusual.
  if (Session* session = find(frame.session)) handle_session(*session, frame);
}

void AgentLoop::size_console(const Frame& frame) {
  const auto number = decode_number(frame.payload);
  if (!number) return;
  const std::string line = "dev/" + std::string(kSerialConsole);
  // Opened anew, since a getty hangs up who had it; and kept, since a terminal that nobody has open forgets.
  Fd console(openat(root_, line.c_str(), O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC));
  winsize size{};
  size.ws_row = static_cast<std::uint16_t>(*number);
  size.ws_col = static_cast<std::uint16_t>(*number >> 16);
  if (console && ioctl(console.get(), TIOCSWINSZ, &size) == 0) console_ = std::move(console);
}

void AgentLoop::tell_whether_console_is_heard() {
  const std::string line = "dev/" + std::string(kSerialConsole);
  const Fd console(openat(root_, line.c_str(), O_RDONLY | O_NOCTTY | O_NONBLOCK | O_CLOEXEC));
  const Fd proc(openat(root_, "proc", O_PATH | O_DIRECTORY | O_CLOEXEC));
  const bool heard = !console || !proc || is_heard(console.get(), proc.get());
  append_number(out_, 0, FrameType::kSignal, heard ? 0 : SIGINT);
}

void AgentLoop::handle_hello(const Frame& frame) {
  const auto hello = decode_hello(frame.payload);
  if (!hello) return;
  decoder_.accept();
  requests_.clear();
  for (auto& session : sessions_) {
    if (!session.main()) session.hang_up();
  }
  append_hello(out_, {.version = kProtocolVersion, .kind = plan_.kind, .nonce = hello->nonce});
}

void AgentLoop::handle_session(Session& session, const Frame& frame) {
  const auto number = decode_number(frame.payload);
  bool good = true;
  switch (frame.type) {
    case FrameType::kInput:
      good = session.input(frame.payload);
      break;
    case FrameType::kInputEnd:
      session.input_end();
      break;
    case FrameType::kCredit:
      good = number && session.grant(*number);
      break;
    case FrameType::kWindow:
      if (number)
        session.resize(static_cast<std::uint16_t>(*number), static_cast<std::uint16_t>(*number >> 16));
      break;
    case FrameType::kSignal:
      if (number && *number > 0 && *number <= 64) session.signal_group(static_cast<int>(*number));
      break;
    case FrameType::kHangUp:
      session.hang_up();
      kill_hung_up_at_ms_ = now_ms() + kHangUpGraceMs;
      break;
    default:
      break;
  }
  if (good) return;
  refuse(session.id(), kNotStarted, "the host has sent more than was granted");
  session.hang_up();
}

void AgentLoop::take_request(const Frame& frame) {
  auto at = std::find_if(requests_.begin(), requests_.end(),
                         [&frame](const Request& request) { return request.id == frame.session; });
  if (at == requests_.end()) {
    if (requests_.size() == kMaxSessions) return;  // its start will be refused
    requests_.push_back({frame.session, {}});
    at = requests_.end() - 1;
  }
  if (at->bytes.size() <= kMaxRecordsBytes) at->bytes += frame.payload;
}

void AgentLoop::refuse(std::uint32_t id, int code, std::string_view why) {
  const auto number = static_cast<std::uint32_t>(code);
  std::string payload(reinterpret_cast<const char*>(&number), sizeof(number));
  payload += why.substr(0, kMaxPayloadBytes - payload.size());
  append_frame(out_, id, FrameType::kFailed, payload);
}

void AgentLoop::start(std::uint32_t id) {
  const auto at = std::find_if(requests_.begin(), requests_.end(),
                               [id](const Request& request) { return request.id == id; });
  std::optional<SessionRequest> request;
  if (at != requests_.end()) {
    request = decode_request(at->bytes);
    requests_.erase(at);
  }
  if (!request) return refuse(id, kNotStarted, "the request can't be read, or is larger than 256 KiB");
  if (find(id)) return refuse(id, kNotStarted, "this session runs already");
  if (sessions_.size() >= kMaxSessions) return refuse(id, kNotStarted, "too many sessions in this VM");
  if (request->main && (plan_.kind != GuestKind::kCommand || main_started_)) {
    return refuse(id, kNotStarted, "the VM runs its own workload already");
  }
  SpawnPlan plan = plan_session(plan_.workload, *request, root_);
  plan.own_group = plan_.session_groups;
  Spawned spawned;
  SpawnFailure failure;
  if (spawn(plan, spawned, failure)) {
    main_started_ = main_started_ || request->main;
    sessions_.emplace_back(id, request->main, plan.stdio, std::move(spawned));
    if (request->detached && !request->main) sessions_.back().detach_telling(out_);
    return;
  }
  refuse(id, failure.code, failure.text);
  if (!request->main) return;
  note("cannot run the image's command: " + failure.text);
  leave();
}

void AgentLoop::start_main_on_console() {
  main_started_ = true;
  SessionRequest request;
  request.main = true;
  SpawnPlan plan = plan_session(plan_.workload, request, root_);
  plan.stdio = Stdio::kConsole;
  Spawned spawned;
  SpawnFailure failure;
  if (!spawn(plan, spawned, failure)) {
    note("cannot run the image's command: " + failure.text);
    leave();
  }
  sessions_.emplace_back(0, true, plan.stdio, std::move(spawned));
}

void AgentLoop::pump_sessions() {
  for (auto at = sessions_.begin(); at != sessions_.end();) {
    at->pump(out_, out_.size() < kMaxOutBytes);
    if (!at->over()) {
      ++at;
      continue;
    }
    if (at->main()) {
      note("the image's command ended with exit code " + std::to_string(at->exit_code()));
      leave();
    }
    if (plan_.session_groups) remove_session_group(root_, at->pid());
    at = sessions_.erase(at);
  }
}

void AgentLoop::leave() {
  if (port_) {
    // Blocking, and so until the host has it; a host that does not listen must not keep the machine.
    alarm(kLastWordsSeconds);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, nullptr);
    fcntl(port_.get(), F_SETFL, 0);
    write_port();
  }
  _exit(0);
}

bool AgentLoop::run_on_console(const std::vector<std::string>& command, std::string& why) {
  SpawnPlan plan;
  plan.root = root_;
  plan.stdio = Stdio::kConsole;
  plan.environment = {kDefaultPath};
  plan.command = command;
  Spawned spawned;
  SpawnFailure failure;
  if (!spawn(plan, spawned, failure)) {
    why = failure.text;
    return false;
  }
  sessions_.emplace_back(0, false, plan.stdio, std::move(spawned));
  sessions_.back().detach();
  return true;
}

/// An image that has a script for it, and no init, is asked first; then it ends as at any other stop.
void AgentLoop::on_power_button() {
  const Fd script(plan_.kind == GuestKind::kCommand ? open_in_root(root_, kOwnPowerScript, O_PATH) : -1);
  struct stat st{};
  if (!script || fstat(script.get(), &st) != 0 || (st.st_mode & 0111) == 0) return shut_down(false);
  std::string why;
  if (!run_on_console({kOwnPowerScript}, why)) {
    note(why);
    return shut_down(false);
  }
  if (stop_at_ms_ == 0) stop_at_ms_ = now_ms() + kPowerScriptMs;
}

void AgentLoop::shut_down(bool asked_by_host) {
  if (plan_.kind == GuestKind::kCommand) {
    if (!main_started_) leave();
    const int number = signal_number(plan_.workload.stop_signal);
    for (const auto& session : sessions_) {
      if (session.main()) session.signal_program(number == 0 ? SIGTERM : number);
    }
    if (kill_main_at_ms_ == 0) kill_main_at_ms_ = now_ms() + kStopGraceMs;
    return;
  }
  if (plan_.init_is_systemd) {
    kill(1, kSystemdPowerOff);
    return;
  }
  note(asked_by_host ? "the host asks for a power-off" : "power button");
  std::string why;
  // OpenRC's own init hears its own program alone.
  const bool openrc = read_text_at(root_, "proc/1/comm") == "openrc-init\n";
  const std::vector<std::string> command =
      openrc ? std::vector<std::string>{"openrc-shutdown", "--poweroff", "now"}
             : std::vector<std::string>{"poweroff"};
  // Without such a program: what the inits that are no systemd take for it.
  if (!run_on_console(command, why)) kill(1, SIGUSR2);
}

void AgentLoop::check_deadlines() {
  const std::int64_t now = now_ms();
  if (plan_.kind == GuestKind::kCommand && !main_started_ && !decoder_.in_step() &&
      now - begun_ms_ >= (plan_.port_expected ? kPortWaitMs : 0)) {
    start_main_on_console();
  }
  if (stop_at_ms_ != 0 && now >= stop_at_ms_) {
    stop_at_ms_ = 0;
    shut_down(false);
  }
  if (kill_main_at_ms_ != 0 && now >= kill_main_at_ms_) {
    kill_main_at_ms_ = 0;
    for (const auto& session : sessions_) {
      if (session.main()) session.signal_program(SIGKILL);
    }
  }
  if (kill_hung_up_at_ms_ != 0 && now >= kill_hung_up_at_ms_) {
    kill_hung_up_at_ms_ = 0;
    for (const auto& session : sessions_) {
      if (session.hung_up()) session.signal_program(SIGKILL);
    }
  }
}

}  // namespace guest_init
