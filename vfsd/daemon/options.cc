#include "vfsd/daemon/options.h"

#include <grp.h>

#include <CLI/CLI.hpp>
#include <iostream>

#include "oci-mount/base/choice_option.h"
#include "oci-mount/base/decimal.h"
#include "oci-mount/base/size.h"

namespace layerboot::vfsd {

namespace {

constexpr int kUsageExitCode = 2;

/// A CLI11 callback that takes a size.
auto size_into(std::uint64_t& size_bytes) {
  return [&size_bytes](const std::string& text) {
    const auto parsed = parse_size(text);
    if (!parsed) throw CLI::ValidationError(parsed.error().text);
    size_bytes = *parsed;
  };
}

/// By name or number.
gid_t group_named(const std::string& text) {
  if (const group* found = ::getgrnam(text.c_str())) return found->gr_gid;
  const auto number = parse_whole<gid_t>(text);
  if (!number || *number == static_cast<gid_t>(-1))
    throw CLI::ValidationError("--socket-group", str_cat("there is no group ", text));
  return *number;
}

void declare(CLI::App& app, Options& options) {
  auto* socket = app.add_option("--socket-path", options.socket_path, "Unix socket to listen on");
  auto* socket_fd = app.add_option("--fd", options.socket_fd, "inherited socket, listening or connected");
  socket->excludes(socket_fd);
  app.add_option_function<std::string>(
         "--socket-group", [&options](const std::string& name) { options.socket_group = group_named(name); },
         "group whose members may connect as well; else root and who this daemon runs as")
      ->needs(socket);
  app.add_option("--control-socket", options.control_socket,
                 "Unix socket for questions and a new quota, one line of JSON each");
  app.add_option("--image", options.image, "image to serve, for example oci:DIR:TAG");
  app.add_option_function<std::string>(
         "--platform",
         [&options](const std::string& text) {
           auto parsed = store::parse_platform(text);
           if (!parsed) throw CLI::ValidationError("--platform", parsed.error().text);
           options.platform = *std::move(parsed);
         },
         "which of an image for several platforms, for example linux/arm64 (default: this machine's)")
      ->type_name("OS/ARCH");
  app.add_option("--share", options.share,
                 "instead of an image: this directory, in place; what the guest writes is in it");
  app.add_option_function<std::string>(
      "--idmap",
      [&options](const std::string& text) {
        auto parsed = parse_id_map(text);
        if (!parsed) throw CLI::ValidationError(parsed.error().text);
        options.ids = *std::move(parsed);
      },
      "whose the guest's files are with --share: UID:GID for its root, or ranges GUEST-HOST-COUNT[+...]");
  app.add_option("--upper", options.upper, "directory that takes what the guest writes");
  app.add_option_function<std::string>("--quota", size_into(options.quota_bytes),
                                       "most bytes that the upper may hold, for example 4G");
  app.add_option("--inodes", options.quota_inodes, "most files that the upper may hold");
  app.add_option_function<std::string>(
      "--host-floor",
      [&options](const std::string& text) { size_into(options.host_floor_bytes.emplace())(text); },
      "refuse growth while the host's file system has less free (default 64M)");
  app.add_option("--add-layer", options.add_layers, "tar to put on top of the image (may be repeated)")
      ->allow_extra_args(false);
  app.add_option("--index-dir", options.index_dir, "where layer and tree indexes are kept");
  app.add_option("--request-queues", options.request_queues, "request queues")
      ->check(CLI::Range(1U, Options::kMaxRequestQueues))
      ->capture_default_str();
  app.add_option_function<std::string>("--cache-size", size_into(options.cache_bytes),
                                       "memory for decoded data (default 64M)");
  app.add_option_function<std::string>("--memory-limit", size_into(options.memory_limit_bytes),
                                       "memory that this daemon may take in all (default 512M)");
  app.add_option("--ready-fd", options.ready_fd,
                 "descriptor that gets a line that begins with \"ready\" when listening");
  add_choice<SandboxMode>(
      &app, "--sandbox", options.sandbox,
      {{"auto", SandboxMode::kAuto}, {"namespace", SandboxMode::kNamespace}, {"none", SandboxMode::kNone}},
      "namespaces and an empty root: auto (a warning where the host gives none), namespace (an error), none");
  add_choice<SeccompMode>(
      &app, "--seccomp", options.seccomp,
      {{"kill", SeccompMode::kKill}, {"log", SeccompMode::kLog}, {"none", SeccompMode::kNone}},
      "system calls that serving does not take");
  add_choice(&app, "--io-engine", options.io_engine, io_engine_names(),
             "what it waits and works by; auto is io_uring where this host allows it, else epoll")
      ->envname(kIoEngineVariable);
  app.add_flag("--once", options.once, "exit when the front end disconnects");
  app.add_flag("--send-opens", options.send_opens,
               "let the guest ask for each open (slower; to measure what not asking spares)");
  app.add_flag(
      "--writeback", options.writeback,
      "let the guest keep what it writes for a while: faster for small writes, a full quota shows late");
  app.add_flag(
      "--record-owners", options.record_owners,
      "keep what a new upper holds as an ordinary user's daemon does, in user.* attributes: root's then "
      "does without CAP_SYS_ADMIN, and the host's overlayfs can't mount it");
  app.add_flag("--read-only", options.read_only, "refuse every change");
  auto* quiet = app.add_flag("--quiet", options.quiet, "only warnings and errors");
  app.add_flag("--debug", options.debug, "everything")->excludes(quiet);
  app.add_flag("--print-capabilities", options.print_capabilities,
               "describe this back end in JSON, and exit");
}

/// What the options must be together; empty if they are.
std::string complaint(const Options& options) {
  if (options.socket_path.empty() && options.socket_fd < 0) return "--socket-path or --fd is required";
  if (!options.share.empty()) {
    const bool of_images = !options.image.empty() || !options.upper.empty() || !options.add_layers.empty();
    if (of_images) return "--share serves a directory in place: without --image, --upper and --add-layer";
    if (options.record_owners) return "--record-owners is for --upper";
    if (options.quota_bytes != 0 || options.quota_inodes != 0)
      return "--share has no --quota: others write there, too; bound the directory by the host's own quotas";
    return options.writeback ? "--share shows the guest a directory that others write to: without --writeback"
                             : "";
  }
  if (options.image.empty()) return "--image or --share is required";
  if (options.ids != IdMap()) return "--idmap is for --share";
  if (options.read_only) return options.record_owners ? "--record-owners is for --upper" : "";
  if (options.upper.empty()) return "--upper is required (or --read-only)";
  if (options.quota_bytes == 0) return "--quota is required, for example --quota 4G";
  return "";
}

}  // namespace

ParsedOptions parse_options(int argc, const char* const* argv) {
  ParsedOptions parsed;
  CLI::App app("Serves a container image, out of its compressed layers, as a virtual machine's file system.",
               "vfsd");
  app.set_version_flag("--version", std::string("vfsd ") + LAYERBOOT_VERSION);
  try {
    declare(app, parsed.options);
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    const bool misuse = error.get_exit_code() != 0;
    if (misuse) {
      std::cerr << "vfsd: " << error.what() << "; see vfsd --help\n";
    } else {
      app.exit(error);
    }
    parsed.exit_code = misuse ? kUsageExitCode : 0;
    return parsed;
  }
  if (parsed.options.print_capabilities) return parsed;
  if (const auto wrong = complaint(parsed.options); !wrong.empty()) {
    std::cerr << "vfsd: " << wrong << "; see vfsd --help\n";
    parsed.exit_code = kUsageExitCode;
  }
  return parsed;
}

}  // namespace layerboot::vfsd
