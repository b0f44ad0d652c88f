#include "launcher/cli/cp_command.h"

#include <fcntl.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <thread>
#include <utility>

#include "guest-init/copy_files.h"
#include "launcher/cli/exec_command.h"
#include "launcher/cli/guest_lines.h"
#include "launcher/host/child.h"
#include "launcher/host/foreign_tar.h"
#include "launcher/vm/vm_config.h"
#include "oci-mount/base/absolute_path.h"
#include "oci-mount/base/log.h"
#include "oci-mount/base/pipe.h"

namespace layerboot::launcher {

namespace {

namespace fs = std::filesystem;

/// Where GNU's tar, which packs what goes into a VM, writes to.
constexpr const char* kInheritedStream = "/dev/fd/3";
static_assert(kFirstInheritedFd == 3);

bool leads_to_directory(const fs::path& path) {
  std::error_code ignored;
  return fs::is_directory(path, ignored);
}

/// What a path is about: its last name, or "." for what a directory holds ("DIR/.").
struct LastName {
  std::string path;  // without what says so
  std::string name;
};

LastName last_name(std::string path) {
  const bool contents = path == "." || path.ends_with("/.");
  if (path.ends_with("/.")) path.resize(path.size() - 1);
  std::string bare = path;
  while (bare.size() > 1 && bare.ends_with('/')) bare.pop_back();
  const std::string name = bare.substr(bare.rfind('/') + 1);
  const bool nameless = contents || name.empty() || name == "." || name == "..";
  return {.path = std::move(path), .name = nameless ? "." : name};
}

guest_init::SessionRequest copy_request(guest_init::CopyRequest copy) {
  guest_init::SessionRequest request;
  request.copy = std::move(copy);
  return request;
}

/// A session of the agent's that copies. `input` below 0: none.
Result<int> copy_session(const StateDirs& dirs, const std::string& vm, guest_init::CopyRequest copy,
                         int input, int output) {
  LB_ASSIGN(const auto words, GuestLines::begin());
  return run_session(dirs, vm, copy_request(std::move(copy)),
                     {.input = input, .output = output, .error = words->fd()});
}

Result<int> with_tar(Result<int> session, Child& tar) {
  const ExitStatus status = tar.wait();
  LB_TRY(session);
  // A tar that was cut off by the other end has nothing to say that is not known.
  if (*session == 0 && !status.clean()) return 1;
  return session;
}

Result<int> copy_in(const StateDirs& dirs, const Options& options, const CopyEnd& from, const CopyEnd& to) {
  guest_init::CopyRequest copy{.in = true, .path = to.path, .name = {}, .owners = options.archive};
  if (from.path == "-") {
    return copy_session(dirs, to.vm, std::move(copy), STDIN_FILENO, STDOUT_FILENO);
  }
  LastName source = last_name(from.path);
  std::error_code error;
  if (options.follow_link) source.path = fs::canonical(source.path, error).string();
  const auto status =
      error ? fs::file_status(fs::file_type::not_found) : fs::symlink_status(source.path, error);
  if (!fs::exists(status)) return fail(ENOENT, "no ", from.path, " here");
  copy.directory = leads_to_directory(source.path) && (!fs::is_symlink(status) || source.name == ".");
  copy.file = !copy.directory;
  const bool contents = source.name == ".";
  if (!contents) copy.name = source.name;
  LB_ASSIGN(Pipe pipe, make_pipe());
  LB_ASSIGN(fs::path path, normal_absolute_path(source.path));
  if (!path.has_filename()) path = path.parent_path();
  std::vector<std::string> argv = {"tar", "--format=gnu", "--numeric-owner", "-C"};
  argv.push_back(contents ? path.string() : path.parent_path().string());
  argv.insert(argv.end(),
              // The first component, which becomes the target, is not to be the '.'.
              {"-cf", kInheritedStream, "--", contents ? std::string(".") : path.filename().string()});
  LB_ASSIGN(Child tar, Child::spawn({.label = "tar", .argv = std::move(argv)}, {pipe.write_end.get()}));
  pipe.write_end.reset();
  auto session = copy_session(dirs, to.vm, std::move(copy), pipe.read_end.get(), STDOUT_FILENO);
  pipe.read_end.reset();
  return with_tar(std::move(session), tar);
}

/// Where a copy out of a VM goes, by docker-cp(1)'s rules.
struct HostTarget {
  fs::path folder;
  std::string name;  // in it
};

Result<HostTarget> choose_target(const std::string& text, const LastName& source,
                                 guest_init::CopyRequest& copy) {
  if (leads_to_directory(text)) return HostTarget{.folder = text, .name = source.name};
  LB_ASSIGN(fs::path path, normal_absolute_path(text));
  const bool slash = !path.has_filename();
  if (slash) path = path.parent_path();
  std::error_code ignored;
  copy.file = fs::exists(path, ignored);
  copy.directory = copy.directory || slash;
  if (copy.file && slash) return fail(ENOTDIR, text, " is no directory");
  if (!leads_to_directory(path.parent_path()))
    return fail(ENOENT, "no directory ", path.parent_path().string(), " here");
  return HostTarget{.folder = path.parent_path(), .name = path.filename().string()};
}

/// What the guest says, and what has come of it.
Result<int> how_it_went(const Result<int>& session, const Result<bool>& unpacked) {
  LB_TRY(session);
  // The guest has told why.
  if (*session == guest_init::kNothingCopied) return 1;
  if (!unpacked) return std::unexpected(unpacked.error());
  return *session == 0 && !*unpacked ? 1 : *session;
}

Result<int> copy_out(const StateDirs& dirs, const Options& options, const CopyEnd& from, const CopyEnd& to) {
  const LastName source = last_name(from.path);
  guest_init::CopyRequest copy{
      .in = false, .path = source.path, .name = source.name, .follow = options.follow_link};
  if (source.name == ".") copy.directory = true;
  if (to.path == "-") {
    return copy_session(dirs, from.vm, std::move(copy), -1, STDOUT_FILENO);
  }
  LB_ASSIGN(const HostTarget target, choose_target(to.path, source, copy));
  copy.name = target.name;
  LB_ASSIGN(ForeignTree tree, ForeignTree::open(target.folder));
  LB_ASSIGN(Pipe pipe, make_pipe());
  Result<bool> unpacked = false;
  std::thread unpacking([&] {
    unpacked =
        unpack_foreign_tar(pipe.read_end.get(), tree, {.name = target.name, .keep_owners = options.archive},
                           [](const std::string& text) { log_error(text); });
    // Of what is no tar nothing more is wanted.
    pipe.read_end.reset();
  });
  auto session = copy_session(dirs, from.vm, std::move(copy), -1, pipe.write_end.get());
  pipe.write_end.reset();
  unpacking.join();
  return how_it_went(session, unpacked);
}

}  // namespace

CopyEnd parse_copy_end(const std::string& text) {
  const auto colon = text.find(':');
  const bool local = text.starts_with('/') || text.starts_with('.') || colon == std::string::npos ||
                     !check_name(std::string_view(text).substr(0, colon));
  if (local) return {.vm = {}, .path = text};
  return {.vm = text.substr(0, colon), .path = text.substr(colon + 1)};
}

Result<int> copy_files(const StateDirs& dirs, const Options& options) {
  const CopyEnd from = parse_copy_end(options.copy_from);
  const CopyEnd to = parse_copy_end(options.copy_to);
  if (from.vm.empty() == to.vm.empty()) {
    return fail(EINVAL, "cp: one of the two is VM:PATH, the other a path here, or - for a tar");
  }
  if ((from.vm.empty() ? from : to).path.empty() || (from.vm.empty() ? to : from).path.empty())
    return fail(EINVAL, "cp: a path is missing");
  LB_TRY(check_vm_runs(dirs, from.vm.empty() ? to.vm : from.vm));
  std::signal(SIGPIPE, SIG_IGN);
  return from.vm.empty() ? copy_in(dirs, options, from, to) : copy_out(dirs, options, from, to);
}

}  // namespace layerboot::launcher
