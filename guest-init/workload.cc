#include "guest-init/workload.h"

#include <array>
#include <charconv>
#include <csignal>

#include "guest-init/records.h"

namespace guest_init {

namespace {

struct SignalName {
  std::string_view name;
  int number;
};

constexpr std::array kSignals = {
    SignalName{"HUP", SIGHUP},   SignalName{"INT", SIGINT},   SignalName{"QUIT", SIGQUIT},
    SignalName{"ABRT", SIGABRT}, SignalName{"KILL", SIGKILL}, SignalName{"USR1", SIGUSR1},
    SignalName{"USR2", SIGUSR2}, SignalName{"PIPE", SIGPIPE}, SignalName{"ALRM", SIGALRM},
    SignalName{"TERM", SIGTERM}, SignalName{"CONT", SIGCONT}, SignalName{"STOP", SIGSTOP},
    SignalName{"TSTP", SIGTSTP}, SignalName{"PWR", SIGPWR},   SignalName{"WINCH", SIGWINCH},
};

// As the kernel numbers them, not the C library, which keeps two for itself.
constexpr int kFirstRealTime = 34;
constexpr int kLastSignal = 64;

std::optional<int> parse_number(std::string_view text) {
  int number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return number;
}

bool parse_bytes(std::string_view text, std::uint64_t& bytes) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), bytes);
  return error == std::errc() && end == text.data() + text.size() && bytes != 0;
}

void append_all(std::string& bytes, std::string_view name, const std::vector<std::string>& values) {
  for (const auto& value : values) append_record(bytes, name, value);
}

void append_some(std::string& bytes, std::string_view name, std::string_view value) {
  if (!value.empty()) append_record(bytes, name, value);
}

bool parse_size(SessionRequest& request, std::string_view text) {
  const std::size_t cross = text.find('x');
  if (cross == std::string_view::npos) return false;
  const auto rows = parse_number(text.substr(0, cross));
  const auto columns = parse_number(text.substr(cross + 1));
  constexpr int kMost = 65535;
  if (!rows || !columns || *rows < 0 || *columns < 0 || *rows > kMost || *columns > kMost) return false;
  request.rows = static_cast<std::uint16_t>(*rows);
  request.columns = static_cast<std::uint16_t>(*columns);
  return true;
}

void append_copy(std::string& bytes, const CopyRequest& copy) {
  append_record(bytes, copy.in ? "copy-in" : "copy-out", copy.path);
  append_some(bytes, "copy-name", copy.name);
  if (copy.follow) append_record(bytes, "copy-follow", "1");
  if (copy.owners) append_record(bytes, "copy-owners", "1");
  if (copy.file) append_record(bytes, "copy-kind", "file");
  if (copy.directory) append_record(bytes, "copy-kind", "directory");
}

void take_copy(SessionRequest& request, std::string_view name, const std::string& value) {
  if (!name.starts_with("copy-")) return;
  if (!request.copy) request.copy.emplace();
  CopyRequest& copy = *request.copy;
  if (name == "copy-in" || name == "copy-out") {
    copy.in = name == "copy-in";
    copy.path = value;
  }
  if (name == "copy-name") copy.name = value;
  if (name == "copy-follow") copy.follow = true;
  if (name == "copy-owners") copy.owners = true;
  if (name == "copy-kind") copy.file = value == "file";
  if (name == "copy-kind") copy.directory = value == "directory";
}

}  // namespace

std::string encode_workload(const ImageWorkload& workload) {
  std::string bytes;
  append_all(bytes, "entrypoint", workload.entrypoint);
  append_all(bytes, "cmd", workload.command);
  append_all(bytes, "env", workload.environment);
  append_some(bytes, "user", workload.user);
  append_some(bytes, "cwd", workload.directory);
  append_all(bytes, "volume", workload.volumes);
  append_some(bytes, "stop-signal", workload.stop_signal);
  append_some(bytes, "root-password", workload.root_password);
  if (workload.autologin) append_record(bytes, "autologin", "1");
  append_all(bytes, "tmpfs", workload.tmpfs);
  return bytes;
}

std::optional<ImageWorkload> decode_workload(std::string_view bytes) {
  auto records = decode_records(bytes);
  if (!records) return std::nullopt;
  ImageWorkload workload;
  for (const auto& [name, value] : *records) {
    if (name == "entrypoint") workload.entrypoint.push_back(value);
    if (name == "cmd") workload.command.push_back(value);
    if (name == "env") workload.environment.push_back(value);
    if (name == "user") workload.user = value;
    if (name == "cwd") workload.directory = value;
    if (name == "root-password") workload.root_password = value;
    if (name == "autologin") workload.autologin = true;
    if (name == "tmpfs") workload.tmpfs.push_back(value);
    if (name == "volume") workload.volumes.push_back(value);
    if (name == "stop-signal") workload.stop_signal = value;
  }
  return workload;
}

std::string encode_request(const SessionRequest& request) {
  std::string bytes;
  if (request.main) append_record(bytes, "main", "1");
  append_some(bytes, "connect", request.connect);
  if (request.grow_bytes != 0) append_record(bytes, "grow", std::to_string(request.grow_bytes));
  if (request.freeze) append_record(bytes, "freeze", "1");
  if (request.entrypoint) {
    // Also an empty one says something: that the image's does not count.
    if (request.entrypoint->empty()) append_record(bytes, "no-entrypoint", "1");
    append_all(bytes, "entrypoint", *request.entrypoint);
  }
  if (request.copy) append_copy(bytes, *request.copy);
  if (request.detached) append_record(bytes, "detach", "1");
  append_all(bytes, "arg", request.arguments);
  append_all(bytes, "env", request.environment);
  append_some(bytes, "user", request.user);
  append_some(bytes, "cwd", request.directory);
  if (request.terminal) {
    append_record(bytes, "tty", std::to_string(request.rows) + "x" + std::to_string(request.columns));
  }
  return bytes;
}

std::optional<SessionRequest> decode_request(std::string_view bytes) {
  auto records = decode_records(bytes);
  if (!records) return std::nullopt;
  SessionRequest request;
  for (const auto& [name, value] : *records) {
    if (name == "main") request.main = true;
    if (name == "connect") request.connect = value;
    if (name == "grow" && !parse_bytes(value, request.grow_bytes)) return std::nullopt;
    if (name == "freeze") request.freeze = true;
    if (name == "detach") request.detached = true;
    take_copy(request, name, value);
    if (name == "no-entrypoint") request.entrypoint.emplace();
    if (name == "entrypoint") {
      if (!request.entrypoint) request.entrypoint.emplace();
      request.entrypoint->push_back(value);
    }
    if (name == "arg") request.arguments.push_back(value);
    if (name == "env") request.environment.push_back(value);
    if (name == "user") request.user = value;
    if (name == "cwd") request.directory = value;
    if (name == "tty") {
      request.terminal = true;
      if (!parse_size(request, value)) return std::nullopt;
    }
  }
  const bool no_program =
      !request.connect.empty() || request.grow_bytes != 0 || request.freeze || request.copy;
  if (!request.main && !no_program && request.arguments.empty()) return std::nullopt;
  return request;
}

std::vector<std::string> main_command(const ImageWorkload& image, const SessionRequest& request) {
  std::vector<std::string> command = request.entrypoint ? *request.entrypoint : image.entrypoint;
  const bool images_own = request.arguments.empty() && !request.entrypoint;
  const auto& arguments = images_own ? image.command : request.arguments;
  command.insert(command.end(), arguments.begin(), arguments.end());
  return command;
}

bool names_init(const std::vector<std::string>& command) {
  if (command.empty()) return false;
  std::string_view name = command.front();
  name.remove_prefix(name.rfind('/') + 1);
  return name == "init" || name == "systemd" || name == "openrc-init" || name == "runit-init";
}

int signal_number(std::string_view name) {
  if (const auto number = parse_number(name)) return *number > 0 && *number <= kLastSignal ? *number : 0;
  if (name.starts_with("SIG")) name.remove_prefix(3);
  for (const auto& known : kSignals) {
    if (name == known.name) return known.number;
  }
  if (!name.starts_with("RTMIN")) return 0;
  name.remove_prefix(5);
  if (name.empty()) return kFirstRealTime;
  if (name.front() != '+') return 0;
  const auto offset = parse_number(name.substr(1));
  return offset && *offset >= 0 && *offset <= kLastSignal - kFirstRealTime ? kFirstRealTime + *offset : 0;
}

}  // namespace guest_init
