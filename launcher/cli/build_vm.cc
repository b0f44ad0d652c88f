#include "launcher/cli/build_vm.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <optional>
#include <system_error>
#include <thread>
#include <utility>

#include "guest-init/exit_codes.h"
#include "guest-init/init_choice.h"
#include "guest-init/tar_header.h"
#include "guest-init/workload.h"
#include "launcher/cli/commit_source.h"
#include "launcher/cli/vm_commands.h"
#include "launcher/host/programs.h"
#include "launcher/host/run_tool.h"
#include "launcher/images/context_copy.h"
#include "launcher/vm/image_workload.h"
#include "oci-mount/base/bytes.h"
#include "oci-mount/base/files.h"
#include "oci-mount/base/log.h"
#include "oci-mount/base/pipe.h"

namespace layerboot::launcher {

namespace {

namespace fs = std::filesystem;

constexpr std::string_view kNamePrefix = "build-";
/// A RUN that is a program of its own. No layer has what is in that directory.
constexpr const char* kScript = "/tmp/layerboot-run";
/// What a guest that has no init does until it is stopped.
constexpr const char* kWaitForEver = "while :; do sleep 3600 & wait $!; done";

fs::path lock_directory(const StateDirs& dirs) { return dirs.data / "build" / "vms"; }

/// Held by the build whose VM has the file's name; nothing where another one holds it.
Result<UniqueFd> try_lock(const fs::path& path, int flags) {
  LB_ASSIGN(UniqueFd lock, open_path(path, O_RDWR | flags, 0600));
  if (::flock(lock.get(), LOCK_EX | LOCK_NB) != 0) return errno_error(path.string());
  return lock;
}

/// This program with these words. A person's configuration file is about the commands that the person gives.
Result<std::vector<std::string>> ourselves(const std::vector<std::string>& words) {
  LB_ASSIGN(const fs::path program, own_program());
  std::vector<std::string> argv = {"env", "LAYERBOOT_CONFIG=", program.string()};
  argv.insert(argv.end(), words.begin(), words.end());
  return argv;
}

Result<ToolSpec> tool_of(const std::vector<std::string>& words) {
  ToolSpec tool;
  LB_ASSIGN(tool.argv, ourselves(words));
  return tool;
}

/// A VM that can't be removed now keeps its lock's file, by which the next build finds it.
void remove_with_lock(const StateDirs& dirs, const std::string& name) {
  if (const auto gone = remove_vm(dirs, name); !gone) {
    return log_warn("the build's VM ", name, " is left: ", gone.error().describe(),
                    "; the next build removes it");
  }
  std::error_code ignored;
  fs::remove(lock_directory(dirs) / name, ignored);
}

/// One that no VM has.
std::string unused_name(const StateDirs& dirs) {
  std::error_code error;
  std::string name = str_cat(kNamePrefix, ::getpid());
  while (fs::exists(VmPaths(dirs, name).state, error)) name += 'x';
  return name;
}

/// Our own words around the tool's error are not helpful: its last line is.
Error bare(const Error& error) {
  constexpr std::string_view kOurs = "layerboot: error: ";
  const std::string text = error.describe();
  const auto at = text.rfind(kOurs);
  return at == std::string::npos ? error : Error{error.code, text.substr(at + kOurs.size())};
}

Result<void> run_ours(const std::vector<std::string>& words) {
  LB_ASSIGN(const ToolSpec tool, tool_of(words));
  if (const auto done = run_tool(tool); !done) return std::unexpected(bare(done.error()));
  return {};
}

/// `path` in the image, as oci-mount lists it; nothing where there is none.
std::optional<std::string> listed(const BuildVmOptions& options, const std::string& image,
                                  const std::string& path) {
  ToolSpec tool;
  int status = 0;
  tool.argv = {options.oci_mount.string(),
               "-q",
               "--platform",
               store::platform_text(options.platform),
               "ls",
               "-l",
               image,
               path};
  tool.exit_status = &status;
  const auto said = run_tool(tool);
  return said && status == 0 ? std::optional(*said) : std::nullopt;
}

/// Nobody else's, who could read our command line, or the program's environment. Values have no bound but
/// that of --env-file.
Result<UniqueFd> file_of_variables(const std::vector<std::string>& environment) {
  UniqueFd file(::memfd_create("variables", MFD_CLOEXEC));
  if (!file) return errno_error("memfd_create");
  std::string records;
  for (const std::string& variable : environment) records += str_cat(variable, '\0');
  LB_TRY(write_all(file.get(), as_bytes(records), 0));
  return file;
}

/// As guest-init decides it (choose_kind()): what would boot by itself.
Result<bool> boots_by_itself(const StateDirs& dirs, const BuildVmOptions& options, const std::string& image,
                             const store::Platform& platform) {
  LB_ASSIGN(const guest_init::ImageWorkload workload, image_workload(dirs, image, platform));
  const auto command = guest_init::main_command(workload, {});
  if (guest_init::names_init(command)) return true;
  if (listed(options, image, "/sbin/init").value_or("").contains("/systemd\n")) return true;
  if (!command.empty()) return false;
  for (const char* path : guest_init::kInitPaths) {
    if (listed(options, image, path)) return true;
  }
  return false;
}

}  // namespace

BuildVm::BuildVm(const StateDirs& dirs, std::string name, const BuildVmOptions& options, UniqueFd lock)
    : dirs_(&dirs), name_(std::move(name)), options_(&options), lock_(std::move(lock)) {}

BuildVm::BuildVm(BuildVm&& other) noexcept
    : dirs_(other.dirs_),
      name_(std::move(other.name_)),
      options_(other.options_),
      lock_(std::move(other.lock_)) {}

BuildVm::~BuildVm() {
  if (!lock_) return;
  remove_with_lock(*dirs_, name_);
}

void BuildVm::remove_leftovers(const StateDirs& dirs) {
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(lock_directory(dirs), ignored)) {
    const auto lock = try_lock(entry.path(), 0);
    if (!lock) continue;
    remove_with_lock(dirs, entry.path().filename().string());
  }
}

bool BuildVm::has_all(const std::string& image, const std::vector<BuildAction>& actions,
                      const BuildVmOptions& options) {
  return std::ranges::all_of(actions, [&](const BuildAction& action) {
    // With the slash only a directory, or a symlink to one, is listed.
    return action.kind == BuildAction::Kind::kDirectory && listed(options, image, action.directory + "/");
  });
}

Result<BuildVm> BuildVm::boot(const StateDirs& dirs, const std::string& image,
                              const BuildVmOptions& options) {
  LB_TRY(make_directories(lock_directory(dirs), 0700));
  std::string name = unused_name(dirs);
  LB_ASSIGN(UniqueFd lock, try_lock(lock_directory(dirs) / name, O_CREAT));
  BuildVm vm(dirs, std::move(name), options, std::move(lock));
  std::vector<std::string> words = {"run",    "--quiet", "--detach", "--wait",
                                    "--pull", "never",   "--name",   vm.name_};
  words.insert(words.end(), options.run_words.begin(), options.run_words.end());
  LB_ASSIGN(const bool by_itself, boots_by_itself(dirs, options, image, options.platform));
  if (!by_itself) words.insert(words.end(), {"--entrypoint", "/bin/sh", "--user", "0:0", "--workdir", "/"});
  words.push_back(image);
  if (!by_itself) words.insert(words.end(), {"--", "-c", kWaitForEver});
  if (const auto up = run_ours(words); !up) return while_doing(up.error(), "the VM does not come up");
  return vm;
}

Result<void> BuildVm::carry_out(const BuildAction& action, const BuildContext& context) {
  Result<void> done;
  switch (action.kind) {
    case BuildAction::Kind::kCopy:
      done = copy(action.copy, context);
      break;
    case BuildAction::Kind::kDirectory:
      done = make_directory(action);
      break;
    case BuildAction::Kind::kRun:
      done = run(action.run);
      break;
  }
  if (!done) return while_doing(done.error(), action.said);
  return {};
}

Result<std::string> BuildVm::small_file(const std::string& path) const {
  LB_ASSIGN(ToolSpec tool, tool_of({"cp", "--follow-link", str_cat(name_, ':', path), "-"}));
  int status = 0;
  tool.exit_status = &status;
  LB_ASSIGN(const std::string tar, run_tool(tool));
  char block[guest_init::kTarBlock];
  if (status != 0 || tar.copy(block, sizeof(block)) < sizeof(block)) return std::string();
  const auto entry = guest_init::decode_tar_block(block);
  if (!entry || entry->kind != guest_init::TarKind::kFile) return std::string();
  return tar.substr(sizeof(block), entry->size_bytes);
}

Result<guest_init::Identity> BuildVm::identity_of(const std::string& owner) const {
  LB_ASSIGN(const std::string passwd, small_file("/etc/passwd"));
  LB_ASSIGN(const std::string group, small_file("/etc/group"));
  guest_init::Identity identity;
  std::string why;
  if (!guest_init::find_identity(owner, passwd, group, identity, why)) return fail(ENOENT, why);
  return identity;
}

Result<void> BuildVm::make_directory(const BuildAction& action) {
  guest_init::Identity owner;
  if (!action.owner.empty()) {
    LB_ASSIGN(owner, identity_of(action.owner));
  }
  return unpack(
      [&](const auto& put) { return write_directory_tar(action.directory, owner.uid, owner.gid, put); });
}

Result<void> BuildVm::copy(const CopyAction& action, const BuildContext& context) {
  ContextCopy copy{.context = context, .action = action};
  if (!action.owner.empty()) {
    LB_ASSIGN(const auto identity, identity_of(action.owner));
    copy.action.uid = identity.uid;
    copy.action.gid = identity.gid;
  }
  return unpack([&copy](const auto& put) { return write_context_tar(copy, put); });
}

Result<void> BuildVm::unpack(const WriteTar& write) {
  LB_ASSIGN(ToolSpec tool, tool_of({"cp", "--archive", "-", str_cat(name_, ":/")}));
  LB_ASSIGN(Pipe pipe, make_pipe());
  Result<void> written;
  std::thread writing([&written, &write, to = std::move(pipe.write_end)] {
    // Who reads may end before, and says why.
    sigset_t broken;
    ::sigemptyset(&broken);
    ::sigaddset(&broken, SIGPIPE);
    ::pthread_sigmask(SIG_BLOCK, &broken, nullptr);
    written = write([&to](std::span<const std::byte> bytes) -> Result<void> {
      auto put = write_next(to.get(), bytes);
      return put ? put : while_doing(put.error(), "the copy into the VM");
    });
  });
  tool.input = pipe.read_end.get();
  const auto taken = run_tool(tool);
  pipe.read_end.reset();
  writing.join();
  if (!written && written.error().code != EPIPE) return written;
  if (!taken) return std::unexpected(bare(taken.error()));
  return {};
}

Result<void> BuildVm::run(const RunAction& action) {
  std::vector<std::string> command = action.command;
  if (!action.script.empty()) {
    command = {kScript};
    LB_TRY(unpack([&action](const auto& put) { return write_script_tar(kScript, action.script, put); }));
  }
  std::vector<std::string> words = {"exec",      "--user",         action.user.empty() ? "0:0" : action.user,
                                    "--workdir", action.directory, "--env-file",
                                    "/dev/stdin"};
  words.insert(words.end(), {name_, "--"});
  words.insert(words.end(), command.begin(), command.end());
  LB_ASSIGN(ToolSpec tool, tool_of(words));
  LB_ASSIGN(const UniqueFd variables, file_of_variables(action.environment));
  int status = 0;
  tool.input = variables.get();
  tool.shows_all = true;
  tool.exit_status = &status;
  LB_TRY(run_tool(tool));
  if (status != 0) return fail(EIO, "ended with exit status ", status);
  return {};
}

Result<std::string> BuildVm::commit(CommitOptions commit) {
  LB_TRY(run_ours({"stop", name_}));
  LB_ASSIGN(const CommitSource source, CommitSource::open(*dirs_, name_, false, commit));
  commit.oci_mount = options_->oci_mount;
  commit.show_progress = options_->show_progress;
  return commit_image(*dirs_, commit);
}

}  // namespace layerboot::launcher
