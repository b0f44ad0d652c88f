#include "oci-mount/mount/commands.h"

#include <signal.h>
#include <unistd.h>

#include <memory>
#include <optional>

#include "oci-mount/base/bytes.h"
#include "oci-mount/base/state_dirs.h"
#include "oci-mount/mount/background.h"
#include "oci-mount/mount/cat.h"
#include "oci-mount/mount/list.h"
#include "oci-mount/mount/output.h"
#include "oci-mount/mount/session.h"
#include "oci-mount/vfs/image_fs.h"
#include "oci-mount/vfs/image_source.h"

namespace layerboot::mount {

namespace {

constexpr std::size_t kOutputBytes = 64 * 1024;

Result<std::unique_ptr<vfs::ImageSource>> open_source(const Options& options, const std::string& image) {
  vfs::ImageSourceOptions source;
  LB_ASSIGN(source.dirs, StateDirs::from_environment());
  source.index_dir = options.index_dir;
  source.add_layers = options.add_layers;
  source.show_progress = options.log_level >= LogLevel::kInfo;
  return vfs::open_image_source(image, source);
}

// For the session, which reads them from a descriptor. Not before: indexing can be ended by ^C.
void block_ending_signals() {
  sigset_t ending;
  sigemptyset(&ending);
  for (const int number : {SIGINT, SIGTERM, SIGHUP}) sigaddset(&ending, number);
  ::sigprocmask(SIG_BLOCK, &ending, nullptr);
}

Result<int> serve(const Options& options, const MountCommand& command, Background* background) {
  LB_ASSIGN(const auto source, open_source(options, command.image));
  std::unique_ptr<vfs::FileSystem> fs;
  if (command.upper.empty()) {
    LB_ASSIGN(fs, vfs::make_read_only_fs(*source));
  } else {
    LB_ASSIGN(
        fs, vfs::make_writable_fs(*source, {.directory = command.upper, .quota_bytes = command.quota_bytes}));
  }
  block_ending_signals();
  LB_ASSIGN(const auto reactor, Reactor::create());
  LB_ASSIGN(const auto session, Session::mount(*reactor, *fs,
                                               {.mountpoint = command.mountpoint,
                                                .source_name = command.image,
                                                .read_only = command.upper.empty(),
                                                .allow_other = command.allow_other}));
  LB_TRY(session->serve([&] {
    if (background == nullptr) return log_info(command.image, " is mounted on ", command.mountpoint);
    if (const auto gone = background->ready(); !gone)
      log_warn("cannot go to the background: ", gone.error().text);
  }));
  return 0;
}

Result<int> run(const Options& options, const MountCommand& command) {
  if (command.foreground) return serve(options, command, nullptr);
  LB_ASSIGN(Background background, Background::fork());
  if (background.which() == Background::Which::kParent) return background.exit_code();
  return serve(options, command, &background);
}

// Nobody reads any more: that is no failure to speak of.
Result<int> quiet_about_broken_pipes(const Result<void>& done) {
  if (done) return 0;
  if (done.error().code == EPIPE) return 1;
  return std::unexpected(done.error());
}

Result<int> run(const Options& options, const ListCommand& command) {
  LB_ASSIGN(const auto source, open_source(options, command.image));
  std::string output;
  const auto flush = [&output] {
    const auto done = write_out(STDOUT_FILENO, as_bytes(output));
    output.clear();
    return done;
  };
  const ListOptions list_options{
      .recursive = command.recursive, .details = command.details, .escape = ::isatty(STDOUT_FILENO) == 1};
  auto done = list(*source->tree, command.path, list_options, [&](std::string_view line) -> Result<void> {
    output += line;
    return output.size() < kOutputBytes ? Result<void>() : flush();
  });
  if (done) done = flush();
  return quiet_about_broken_pipes(done);
}

Result<int> run(const Options& options, const CatCommand& command) {
  LB_ASSIGN(const auto source, open_source(options, command.image));
  LB_ASSIGN(const auto reactor, Reactor::create());
  const overlay::Lower lower{*source->tree, source->reader};
  int exit_code = 0;
  for (const std::string& path : command.paths) {
    const auto done = cat(lower, *reactor, path, STDOUT_FILENO);
    if (done) continue;
    if (done.error().code == EPIPE) return 1;
    log_error(done.error().describe());
    exit_code = 1;
  }
  return exit_code;
}

}  // namespace

Result<int> run_command(const Options& options) {
  return std::visit([&options](const auto& command) { return run(options, command); }, options.command);
}

}  // namespace layerboot::mount
