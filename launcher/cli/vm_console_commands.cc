// logs and console.

#include <unistd.h>

#include <array>
#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>
#include <csignal>
#include <cstdio>
#include <utility>

#include "launcher/cli/vm_commands.h"
#include "launcher/console/console.h"
#include "launcher/console/console_log.h"
#include "launcher/host/log_bound.h"
#include "launcher/vm/control_client.h"
#include "launcher/vm/vm_list.h"
#include "oci-mount/base/files.h"
#include "oci-mount/base/log.h"

namespace layerboot::launcher {

namespace {

constexpr std::size_t kChunkBytes = 65'536;

/// False when nobody reads our output any more.
bool put(const char* data, std::size_t size_bytes) {
  return std::fwrite(data, 1, size_bytes, stdout) == size_bytes;
}

/// The first `most_bytes` of a file, or all of it; one that is not there has nothing in it.
Result<void> print_file(const std::filesystem::path& path, std::uint64_t most_bytes) {
  auto file = open_path(path, O_RDONLY);
  if (!file && file.error().code == ENOENT) return {};
  if (!file) return std::unexpected(file.error());
  std::array<char, kChunkBytes> chunk{};
  while (most_bytes > 0) {
    const auto got = ::read(file->get(), chunk.data(), std::min<std::uint64_t>(chunk.size(), most_bytes));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return errno_error("cannot read ", path.string());
    if (got == 0 || !put(chunk.data(), static_cast<std::size_t>(got))) return {};
    most_bytes -= static_cast<std::uint64_t>(got);
  }
  return {};
}

Result<void> print_stream(const UniqueFd& stream) {
  std::array<char, kChunkBytes> chunk{};
  for (;;) {
    std::fflush(stdout);
    // The client's patience is on the socket.
    const auto got = ::read(stream.get(), chunk.data(), chunk.size());
    if (got < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (got < 0) return errno_error("the console's stream broke");
    if (got == 0 || !put(chunk.data(), static_cast<std::size_t>(got))) return {};
  }
}

struct Stream {
  UniqueFd socket;
  std::uint64_t log_bytes = 0;  // of the log, when it began
};

Result<Stream> open_stream(const VmPaths& paths, const std::string& name, ControlVerb verb) {
  auto client = ControlClient::connect(paths.control_socket());
  if (!client && is_nobody(client.error())) {
    return fail(ENOENT, "VM ", name, " does not run: 'layerboot start ", name, "' starts it");
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
  if (options.launcher_log) return print_file(vm.paths.launcher_log(), UINT64_MAX);
  std::signal(SIGPIPE, SIG_DFL);
  // First, so that nothing between log and stream is missed.
  std::optional<Stream> stream;
  if (options.follow && vm.is_live()) {
    LB_ASSIGN(stream, open_stream(vm.paths, options.name, ControlVerb::kLogs));
  }
  LB_TRY(print_file(older_log(vm.paths.console_log()), UINT64_MAX));
  LB_TRY(print_file(vm.paths.console_log(), stream ? stream->log_bytes : UINT64_MAX));
  if (stream) LB_TRY(print_stream(stream->socket));
  return {};
}

Result<void> join_console(const StateDirs& dirs, const Options& options) {
  LB_ASSIGN(const VmView vm, look_at_vm(dirs, options.name));
  LB_ASSIGN(Stream stream, open_stream(vm.paths, options.name, ControlVerb::kConsole));
  boost::asio::io_context io(1);
  boost::asio::signal_set signals(io, SIGINT, SIGTERM, SIGHUP);
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
                    {.escape = leave, .closed = [&] { io.stop(); }});
    LB_TRY(console.start());
    on_terminal = console.on_terminal();
    if (on_terminal) {
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
