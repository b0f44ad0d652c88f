// logs and console.

#include <unistd.h>

#include <array>
#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>
#include <csignal>
#include <cstdio>
#include <functional>
#include <utility>

#include "launcher/cli/console_text.h"
#include "launcher/cli/terminal_text.h"
#include "launcher/cli/vm_commands.h"
#include "launcher/console/console.h"
#include "launcher/console/console_log.h"
#include "launcher/host/log_bound.h"
#include "launcher/host/time_text.h"
#include "launcher/host/window_size.h"
#include "launcher/vm/control_client.h"
#include "launcher/vm/vm_list.h"
#include "oci-mount/base/files.h"
#include "oci-mount/base/log.h"

namespace layerboot::launcher {

namespace {

constexpr std::size_t kChunkBytes = 65'536;
/// More than any log of ours is.
constexpr std::size_t kMaxLogBytes = 4 * ConsoleLog::kMaxBytes;

/// Standard output, for what a guest has said: to a program and into a file it goes byte by byte.
class LogOutput {
 public:
  explicit LogOutput(bool raw) : is_raw_(raw || ::isatty(STDOUT_FILENO) == 0) {}
  LogOutput(const LogOutput&) = delete;
  LogOutput& operator=(const LogOutput&) = delete;
  ~LogOutput() { static_cast<void>(write(terminal_.finish())); }

  /// False when nobody reads it any more.
  bool put(std::string_view text) { return is_raw_ ? write(text) : write(terminal_.take(text)); }

 private:
  static bool write(std::string_view text) {
    return std::fwrite(text.data(), 1, text.size(), stdout) == text.size();
  }

  bool is_raw_;
  TerminalText terminal_;
};

/// The first `most_bytes` of a file, or all of it; one that is not there has nothing in it.
Result<std::string> read_log(const std::filesystem::path& path, std::uint64_t most_bytes) {
  auto file = open_path(path, O_RDONLY);
  if (!file && file.error().code == ENOENT) return std::string();
  if (!file) return std::unexpected(file.error());
  LB_ASSIGN(std::string text, read_all(file->get(), kMaxLogBytes));
  text.resize(std::min<std::uint64_t>(text.size(), most_bytes));
  return text;
}

/// To a person; a program sees that there is nothing.
void tell_silence(std::string_view text) {
  if (::isatty(STDOUT_FILENO) != 0) log_info(text);
}

Result<void> print_log(const VmPaths& paths, std::uint64_t most_bytes, const LogChoice& choice,
                       LogOutput& output) {
  const auto log = paths.console_log();
  LB_ASSIGN(std::string text, read_log(older_log(log), UINT64_MAX));
  std::vector<LogTime> times;
  if (!choice.all()) {
    LB_ASSIGN(const std::string older, read_log(log_times(older_log(log)), UINT64_MAX));
    LB_ASSIGN(const std::string latest, read_log(log_times(log), UINT64_MAX));
    read_log_times(older, 0, times);
    read_log_times(latest, text.size(), times);
  }
  LB_ASSIGN(const std::string latest, read_log(log, most_bytes));
  text += latest;
  const bool silent = text.empty();
  if (!choice.all()) text = choose_log(text, times, choice);
  if (text.empty())
    tell_silence(silent ? "the console has said nothing" : "the console has said nothing in that time");
  output.put(text);
  return {};
}

Result<void> print_stream(const UniqueFd& stream, bool timestamps, LogOutput& output) {
  std::array<char, kChunkBytes> chunk{};
  bool line_begins = true;
  for (;;) {
    std::fflush(stdout);
    // The client's patience is on the socket.
    const auto got = ::read(stream.get(), chunk.data(), chunk.size());
    if (got < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (got < 0) return errno_error("the console's stream broke");
    if (got == 0) return {};
    std::string_view text(chunk.data(), static_cast<std::size_t>(got));
    while (timestamps && !text.empty()) {
      if (line_begins) output.put(utc_text(seconds_now()) + ' ');
      const auto end = text.find('\n');
      line_begins = end != std::string_view::npos;
      const std::string_view line = text.substr(0, line_begins ? end + 1 : text.size());
      if (!output.put(line)) return {};
      text.remove_prefix(line.size());
    }
    if (!output.put(text)) return {};
  }
}

struct Stream {
  UniqueFd socket;
  std::uint64_t log_bytes = 0;  // of the log, when it began
};

Result<Stream> open_stream(const VmPaths& paths, const std::string& name, ControlVerb verb) {
  auto client = ControlClient::connect(paths.control_socket());
  if (!client && is_nobody(client.error())) {
    return std::unexpected(vm_not_running(name));
  }
  if (!client) return std::unexpected(client.error());
  LB_ASSIGN(const auto answer, client->ask({.verb = verb, .timeout_seconds = {}}));
  Stream stream{.socket = client->take_socket(), .log_bytes = 0};
  if (const auto bytes = answer.find("log_bytes"); bytes != answer.end() && bytes->is_number_unsigned()) {
    stream.log_bytes = bytes->get<std::uint64_t>();
  }
  return stream;
}

}  // namespace

Result<void> show_logs(const StateDirs& dirs, const Options& options) {
  LB_ASSIGN(const VmView vm, look_at_vm(dirs, options.name));
  std::signal(SIGPIPE, SIG_DFL);
  LogOutput output(options.raw);
  const LogChoice choice{.tail = options.tail, .since = options.since, .timestamps = options.timestamps};
  if (options.launcher_log) {
    LB_ASSIGN(std::string text, read_log(vm.paths.launcher_log(), UINT64_MAX));
    if (text.empty()) tell_silence("the launcher has said nothing");
    text = choose_log(text, {}, {.tail = options.tail, .since = {}, .timestamps = false});
    output.put(text);
    return {};
  }
  // First, so that nothing between log and stream is missed.
  std::optional<Stream> stream;
  if (options.follow && vm.is_live()) {
    LB_ASSIGN(stream, open_stream(vm.paths, options.name, ControlVerb::kLogs));
  }
  LB_TRY(print_log(vm.paths, stream ? stream->log_bytes : UINT64_MAX, choice, output));
  if (stream) LB_TRY(print_stream(stream->socket, choice.timestamps, output));
  return {};
}

namespace {

/// The console's terminal in the guest is as large as this one, as far as the VM's launcher knows how.
void tell_window(const VmPaths& paths) {
  const auto window = window_of(STDIN_FILENO);
  auto client = window ? ControlClient::connect(paths.control_socket())
                       : Result<ControlClient>(fail(ENOTTY, "no terminal"));
  if (!client) return;
  ControlRequest request;
  request.verb = ControlVerb::kWindow;
  request.window = *window;
  if (const auto told = client->ask(request); !told) log_debug("the window: ", told.error().describe());
}

}  // namespace

Result<void> join_console(const StateDirs& dirs, const Options& options) {
  LB_ASSIGN(const VmView vm, look_at_vm(dirs, options.name));
  LB_ASSIGN(Stream stream, open_stream(vm.paths, options.name, ControlVerb::kConsole));
  boost::asio::io_context io(1);
  boost::asio::signal_set signals(io, SIGINT, SIGTERM, SIGHUP);
  boost::asio::signal_set resized(io, SIGWINCH);
  const std::function<void(boost::system::error_code, int)> follow = [&](boost::system::error_code error,
                                                                         int) {
    if (error) return;
    resized.async_wait(follow);
    tell_window(vm.paths);
  };
  resized.async_wait(follow);
  bool left = false;
  const auto leave = [&] {
    left = true;
    io.stop();
  };
  signals.async_wait([&](boost::system::error_code error, int) {
    if (!error) leave();
  });
  bool on_terminal = false;
  {
    Console console(io, std::move(stream.socket), STDIN_FILENO, STDOUT_FILENO,
                    {.escape = leave, .shell = {}, .closed = [&] { io.stop(); }});
    LB_TRY(console.start());
    on_terminal = console.on_terminal();
    if (on_terminal) {
      tell_window(vm.paths);
      log_info("at the console of ", options.name,
               ": Enter shows its prompt, Ctrl-] three times within a second leaves it");
    }
    io.run();
  }
  if (left && on_terminal) log_info("left the console of ", options.name, ": the VM goes on");
  if (!left) log_info("VM ", options.name, " has ended");
  return {};
}

}  // namespace layerboot::launcher
