#include "oci-mount/mount/commands.h"

#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <functional>
#include <memory>
#include <optional>
#include <set>

#include "oci-mount/base/bytes.h"
#include "oci-mount/base/files.h"
#include "oci-mount/base/own_places.h"
#include "oci-mount/base/printable.h"
#include "oci-mount/base/progress.h"
#include "oci-mount/base/state_dirs.h"
#include "oci-mount/mount/background.h"
#include "oci-mount/mount/cat.h"
#include "oci-mount/mount/changes.h"
#include "oci-mount/mount/index_report.h"
#include "oci-mount/mount/layer_file.h"
#include "oci-mount/mount/list.h"
#include "oci-mount/mount/mount_walls.h"
#include "oci-mount/mount/output.h"
#include "oci-mount/mount/scratch_directory.h"
#include "oci-mount/mount/session.h"
#include "oci-mount/mount/tar_stream.h"
#include "oci-mount/mount/verify.h"
#include "oci-mount/vfs/image_fs.h"
#include "oci-mount/vfs/image_source.h"

namespace layerboot::mount {

namespace {

constexpr std::size_t kOutputBytes = 64 * 1024;

Result<StateDirs> own_state_dirs() {
  LB_ASSIGN(StateDirs dirs, StateDirs::from_environment());
  close_own_places(dirs);
  return dirs;
}

Result<std::unique_ptr<vfs::ImageSource>> open_source(const Options& options, const std::string& image) {
  vfs::ImageSourceOptions source;
  LB_ASSIGN(source.dirs, own_state_dirs());
  source.platform = options.platform;
  source.index_dir = options.index_dir;
  source.add_layers = options.add_layers;
  source.show_progress = options.log_level >= LogLevel::kInfo;
  return vfs::open_image_source(image, source);
}

// For the session, which reads them from a descriptor. Not before: indexing can be ended by ^C.
void prepare_signals() {
  sigset_t ending;
  sigemptyset(&ending);
  for (const int number : {SIGINT, SIGTERM, SIGHUP}) sigaddset(&ending, number);
  ::sigprocmask(SIG_BLOCK, &ending, nullptr);
  // Beyond RLIMIT_FSIZE: EFBIG for who writes, not the mount's end.
  ::signal(SIGXFSZ, SIG_IGN);
}

// Who waits on the descriptor has gone, or reads; either way the mount stays.
void tell_ready(int fd) {
  if (fd < 0) return;
  if (::write(fd, "ready\n", 6) != 6) log_warn("cannot say on descriptor ", fd, " that the mount is ready");
  ::close(fd);
}

Result<void> serve(const Options& options, Session& session, const std::function<void(IoEngine)>& on_ready) {
  LB_ASSIGN(const auto reactor, Reactor::create(options.io_engine));
  tell_engine(*reactor);
  return session.serve(*reactor, [&] { on_ready(reactor->engine()); });
}

/// Nothing is written, so that it takes no rights to decode what strangers have made.
Result<void> serve_in_walls(const Options& options, Session& session, vfs::ImageSource& source,
                            const std::function<void()>& tell) {
  const bool opens_files =
      std::ranges::any_of(source.image.layers, [](const auto& layer) { return layer.is_directory; });
  LB_TRY(session.hand_over_unmounting());
  // Each thread has its own, so before any is there; and none can come later.
  LB_TRY(give_up_rights(opens_files));
  source.workers.start();
  return serve(options, session, [&](IoEngine engine) {
    tell();
    if (const auto shut = allow_only_reading(engine, opens_files); !shut)
      log_warn("the image is read without a wall: ", shut.error().describe());
  });
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
  prepare_signals();
  LB_ASSIGN(const auto session, Session::mount(*fs, {.mountpoint = command.mountpoint,
                                                     .source_name = command.image,
                                                     .read_only = command.upper.empty(),
                                                     .allow_other = command.allow_other,
                                                     .read_all = command.read_all}));
  const auto tell = [&] {
    tell_ready(command.ready_fd);
    if (command.ready_fd >= 0) return;  // a program started us: it has its own to say
    if (background == nullptr) return log_info(command.image, " is mounted on ", command.mountpoint);
    if (const auto gone = background->ready(); !gone)
      log_warn("cannot go to the background: ", gone.error().text);
  };
  if (!command.upper.empty()) {
    LB_TRY(serve(options, *session, [&](IoEngine) { tell(); }));
  } else {
    LB_TRY(serve_in_walls(options, *session, *source, tell));
  }
  LB_TRY(fs->stop());
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

// Lines for standard output, in large pieces.
class LineOutput {
 public:
  Result<void> put(std::string_view line) {
    text_ += line;
    return text_.size() < kOutputBytes ? Result<void>() : flush();
  }
  Result<void> flush() {
    const auto done = write_out(STDOUT_FILENO, as_bytes(text_));
    text_.clear();
    return done;
  }

 private:
  std::string text_;
};

// Names that a terminal would act on are escaped on one, and exact anywhere else.
bool escapes_names() { return ::isatty(STDOUT_FILENO) == 1; }

Result<int> run(const Options& options, const ListCommand& command) {
  LB_ASSIGN(const auto source, open_source(options, command.image));
  LineOutput output;
  const ListOptions list_options{
      .recursive = command.recursive, .details = command.details, .escape = escapes_names()};
  auto done = list(*source->tree, command.path, list_options,
                   [&](std::string_view line) -> Result<void> { return output.put(line); });
  if (done) done = output.flush();
  return quiet_about_broken_pipes(done);
}

Result<int> run(const Options& options, const CatCommand& command) {
  LB_ASSIGN(const auto source, open_source(options, command.image));
  LB_ASSIGN(const auto reactor, Reactor::create(options.io_engine));
  const overlay::Lower lower{*source->tree, source->reader};
  int exit_code = 0;
  for (const std::string& path : command.paths) {
    const auto done = cat(lower, *reactor, path, STDOUT_FILENO);
    if (done) continue;
    exit_code = 1;
    if (done.error().code == EPIPE) break;
    log_error(done.error().describe());
  }
  return exit_code;
}

Result<int> run(const Options& options, const TarCommand& command) {
  if (escapes_names()) return fail(EINVAL, "a tar is not for a terminal: send it to a file or a pipe");
  LB_ASSIGN(const auto source, open_source(options, command.image));
  LB_ASSIGN(const auto reactor, Reactor::create(options.io_engine));
  const auto done = write_tar({*source->tree, source->reader}, *reactor, STDOUT_FILENO);
  return quiet_about_broken_pipes(done);
}

Result<std::filesystem::path> index_dir_of(const Options& options, const StateDirs& dirs) {
  auto index_dir = options.index_dir.empty() ? dirs.index() : options.index_dir;
  LB_TRY(make_private_directory(index_dir));
  return index_dir;
}

Result<int> run(const Options& options, const IndexCommand& command) {
  LB_ASSIGN(const StateDirs dirs, own_state_dirs());
  LB_ASSIGN(const auto index_dir, index_dir_of(options, dirs));
  LB_ASSIGN(const store::Image image, store::open_image(command.image, dirs, {.platform = options.platform}));
  LB_ASSIGN(
      const IndexReport report,
      build_indexes(image, {.index_dir = index_dir, .show_progress = options.log_level >= LogLevel::kInfo}));
  const std::string text = command.json ? report_json(report) : report_text(report);
  return quiet_about_broken_pipes(write_out(STDOUT_FILENO, as_bytes(text)));
}

// One line a layer on standard output; what is wrong, below it.
bool print_verdict(const LayerVerdict& verdict) {
  const bool good = verdict.findings.empty();
  std::printf("%s %s", verdict.layer.c_str(), good ? "good" : "BAD");
  if (good) std::printf(" (%u spans, %s)", verdict.spans, human_size(verdict.stream_bytes).c_str());
  std::printf("\n");
  for (const std::string& finding : verdict.findings) std::printf("  %s\n", printable_lines(finding).c_str());
  std::fflush(stdout);
  return good;
}

Result<int> run(const Options& options, const VerifyCommand& command) {
  LB_ASSIGN(const StateDirs dirs, own_state_dirs());
  LB_ASSIGN(const auto index_dir, index_dir_of(options, dirs));
  LB_ASSIGN(const store::Image image, store::open_image(command.image, dirs, {.platform = options.platform}));
  LB_ASSIGN(const ScratchDirectory scratch, ScratchDirectory::make_in(index_dir, "verify"));
  const bool show_progress = options.log_level >= LogLevel::kInfo;
  bool good = true;
  for (const store::ImageLayer& layer : image.layers) {
    LB_ASSIGN(const LayerVerdict verdict,
              verify_layer(layer, index_dir, scratch.path(), show_progress, options.io_engine));
    good = print_verdict(verdict) && good;
  }
  if (!good) return 1;
  LB_ASSIGN(const std::string tree_fault, verify_tree(image, index_dir, scratch.path()));
  std::printf("tree %s\n", tree_fault.empty() ? "good" : str_cat("BAD\n  ", tree_fault).c_str());
  return tree_fault.empty() ? 0 : 1;
}

Result<int> list_diff(const Options& options, const DiffCommand& command) {
  LB_ASSIGN(const auto source, open_source(options, command.image));
  LineOutput output;
  auto done = list_changes(*source->tree, source->image.chain_id.text(), command.upper,
                           [&](Change change, std::string_view path) -> Result<void> {
                             const std::string name =
                                 escapes_names() ? printable_whole(path) : std::string(path);
                             return output.put(str_cat(static_cast<char>(change), " ", name, "\n"));
                           });
  if (done) done = output.flush();
  return quiet_about_broken_pipes(done);
}

/// The files that the VM had on top of its image.
Result<std::set<std::string, std::less<>>> files_of_added_layers(const Options& options,
                                                                 const std::filesystem::path& index_dir) {
  std::set<std::string, std::less<>> paths;
  for (const auto& tar : options.add_layers) {
    LB_ASSIGN(const auto layer, layer::open_layer(tar, {.index_dir = index_dir}));
    LB_ASSIGN(const layer::EntryTable entries, layer->index().load_entries());
    for (std::uint32_t i = 0; i < entries.entry_count(); ++i) {
      const layer::EntryView entry = entries.entry(i);
      const bool is_of_a_directory =
          entry.type == layer::EntryType::kDirectory || entry.type == layer::EntryType::kOpaque;
      if (!is_of_a_directory) paths.insert(str_cat("/", entry.path));
    }
  }
  return paths;
}

Result<int> write_diff(Options options, const DiffCommand& command) {
  const bool to_stdout = command.output.empty();
  if (to_stdout && escapes_names())
    return fail(EINVAL, "a layer is not for a terminal: send it to a file or a pipe, or say --output FILE");
  LB_ASSIGN(const StateDirs dirs, own_state_dirs());
  LB_ASSIGN(const auto index_dir, index_dir_of(options, dirs));
  LayerOptions layer{.squash = command.squash,
                     .keep_identity = command.keep_identity,
                     .drop_identity = command.drop_identity,
                     .not_the_images = {},
                     .newest_mtime_sec = std::nullopt};
  LB_ASSIGN(layer.newest_mtime_sec, source_date_epoch());
  LB_ASSIGN(layer.not_the_images, files_of_added_layers(options, index_dir));
  options.add_layers.clear();
  LB_ASSIGN(const auto source, open_source(options, command.image));
  LB_ASSIGN(const SeenUpper upper, see_upper(command.upper, source->image.chain_id.text()));
  LB_ASSIGN(const auto reactor, Reactor::create(options.io_engine));
  const overlay::Lower lower{*source->tree, source->reader};
  if (to_stdout) {
    const auto written = write_compressed_layer(
        lower, *reactor, upper, layer, command.compression,
        [](std::span<const std::byte> bytes) { return write_out(STDOUT_FILENO, bytes); });
    return quiet_about_broken_pipes(written ? Result<void>() : std::unexpected(written.error()));
  }
  struct stat st{};
  if (::stat(command.output.c_str(), &st) == 0 && !S_ISREG(st.st_mode)) {
    return fail(EINVAL, command.output.string(),
                " is there and no file: without --output the layer goes to standard output");
  }
  LB_ASSIGN(const WrittenLayer written,
            write_layer_file(lower, *reactor, upper, layer, command.compression, command.output, index_dir));
  return quiet_about_broken_pipes(write_out(STDOUT_FILENO, as_bytes(written.json())));
}

Result<int> run(const Options& options, const DiffCommand& command) {
  return command.layer ? write_diff(options, command) : list_diff(options, command);
}

}  // namespace

Result<int> run_command(const Options& options) {
  return std::visit([&options](const auto& command) { return run(options, command); }, options.command);
}

}  // namespace layerboot::mount
