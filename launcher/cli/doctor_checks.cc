#include "launcher/cli/doctor_checks.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstring>
#include <nlohmann/json.hpp>

#include "launcher/host/child.h"
#include "launcher/host/memory_limit.h"
#include "launcher/host/programs.h"
#include "launcher/qemu/qemu_version.h"
#include "launcher/vm/binfmt_layer.h"
#include "oci-mount/base/files.h"
#include "oci-mount/base/own_places.h"
#include "oci-mount/base/printable.h"
#include "oci-mount/base/progress.h"
#include "oci-mount/base/reactor.h"
#include "oci-mount/store/json_document.h"

namespace layerboot::launcher {

namespace {

constexpr std::uint64_t kComfortableBytes = std::uint64_t{4} << 30;
// What a virtqueue's ring of ours needs, many times over.
constexpr std::uint64_t kEnoughMemlockBytes = std::uint64_t{8} << 20;
// The oldest that is tested.
constexpr unsigned kOldestQemuMajor = 7;

const char* word(Health health) {
  switch (health) {
    case Health::kGood:
      return "ok";
    case Health::kLess:
      return "less";
    case Health::kMissing:
      break;
  }
  return "missing";
}

std::string text_of(const char* path) {
  auto text = read_file(path, 4096);
  if (!text) return {};
  while (text->ends_with('\n')) text->pop_back();
  return *text;
}

}  // namespace

Finding check_io_uring() {
  Finding finding{.subject = "io_uring", .health = Health::kGood, .detail = "works", .remedy = {}};
  const auto reactor = Reactor::create(IoEngine::kUring);
  if (reactor) return finding;
  finding.health = Health::kLess;
  finding.detail = str_cat("refused (", std::string_view(std::strerror(reactor.error().code)),
                           "): vfsd and oci-mount work by epoll and threads");
  finding.remedy =
      text_of("/proc/sys/kernel/io_uring_disabled") > "0"
          ? "sysctl kernel.io_uring_disabled=0, or join the group of kernel.io_uring_group"
          : "Linux 5.19 or later is needed, and a container must be allowed it (seccomp profile)";
  return finding;
}

Finding check_memlock() {
  Finding finding{.subject = "locked memory", .health = Health::kGood, .detail = {}, .remedy = {}};
  rlimit limit{};
  ::getrlimit(RLIMIT_MEMLOCK, &limit);
  if (limit.rlim_cur == RLIM_INFINITY) {
    finding.detail = "no limit";
    return finding;
  }
  finding.detail = str_cat("at most ", human_size(limit.rlim_cur));
  if (limit.rlim_cur < kEnoughMemlockBytes && ::geteuid() != 0) {
    finding.health = Health::kLess;
    finding.remedy =
        "raise memlock to 8 MiB or more in /etc/security/limits.conf (kernels before 5.12 count rings)";
  }
  return finding;
}

Finding check_memory_bound() {
  Finding finding{.subject = "memory bound", .health = Health::kGood, .detail = {}, .remedy = {}};
  if (const auto limit = own_group_limit_bytes()) {
    finding.detail =
        str_cat("a control group holds VMs that are started here, to ", human_size(*limit), " in all");
    return finding;
  }
  finding.detail =
      "no control group holds VMs that are started here: vfsd and QEMU by their own limits alone";
  finding.remedy =
      "layerboot export systemd makes a service with MemoryMax=; systemd-run --scope -p MemoryMax= for one "
      "run";
  return finding;
}

Finding check_user_namespaces() {
  Finding finding{
      .subject = "user namespaces", .health = Health::kGood, .detail = "can be made", .remedy = {}};
  const pid_t child = ::fork();
  if (child == 0) ::_exit(::unshare(CLONE_NEWUSER | CLONE_NEWNS) == 0 ? 0 : 1);
  int status = 1;
  while (child > 0 && ::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (child > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0) return finding;
  finding.health = Health::kLess;
  finding.detail = "refused: vfsd serves with less of a sandbox, and says so";
  if (text_of("/proc/sys/kernel/unprivileged_userns_clone") == "0") {
    finding.remedy = "sysctl kernel.unprivileged_userns_clone=1";
  } else if (text_of("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == "1") {
    finding.remedy = "sysctl kernel.apparmor_restrict_unprivileged_userns=0, or an AppArmor profile for vfsd";
  } else {
    finding.remedy =
        "sysctl user.max_user_namespaces above 0; in a container, a seccomp profile that allows it";
  }
  return finding;
}

Finding check_network_namespace() {
  if (::geteuid() != 0) {
    return {.subject = "QEMU's network",
            .health = Health::kGood,
            .detail = "the host's, with the rights of who runs the VM: root's alone is kept apart",
            .remedy = {}};
  }
  if (can_be_apart(CLONE_NEWNET)) {
    return {.subject = "QEMU's network",
            .health = Health::kGood,
            .detail = "apart from the host's, with --net none and passt",
            .remedy = {}};
  }
  return {.subject = "QEMU's network",
          .health = Health::kLess,
          .detail =
              "the host's: no network namespace can be made, and a QEMU that was taken over reaches what "
              "listens on 127.0.0.1",
          .remedy =
              "sysctl user.max_net_namespaces above 0; in a container, CAP_SYS_ADMIN and a seccomp profile "
              "that allows it"};
}

Finding check_fuse() {
  Finding finding{
      .subject = "FUSE", .health = Health::kGood, .detail = "oci-mount mount works", .remedy = {}};
  const UniqueFd device(::open("/dev/fuse", O_RDWR | O_CLOEXEC));
  if (!device) {
    finding.health = Health::kLess;
    finding.detail = str_cat("/dev/fuse: ", std::string_view(std::strerror(errno)), ": no oci-mount mount");
    finding.remedy = "modprobe fuse; in a container, --device /dev/fuse";
  } else if (::geteuid() != 0 && !find_in_path("fusermount3")) {
    finding.health = Health::kLess;
    finding.detail = "fusermount3 is not installed: no oci-mount mount as an ordinary user";
    finding.remedy = "apt install fuse3";
  }
  return finding;
}

Finding check_state(const StateDirs& dirs) {
  Finding finding{.subject = "state", .health = Health::kGood, .detail = dirs.data.string(), .remedy = {}};
  if (const auto made = make_directories(dirs.data, 0700); !made) {
    finding.health = Health::kMissing;
    finding.detail = made.error().describe();
    finding.remedy = "set XDG_DATA_HOME to a directory of yours";
    return finding;
  }
  const UniqueFd file(::open(dirs.data.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
  const char* attribute = ::geteuid() == 0 ? "trusted.layerboot" : "user.layerboot";
  if (!file || ::fsetxattr(file.get(), attribute, "1", 1, 0) != 0) {
    finding.health = Health::kMissing;
    finding.detail += str_cat(": its file system has no ", file ? attribute : "nameless files (O_TMPFILE)",
                              ": ", std::string_view(std::strerror(errno)));
    finding.remedy = "set XDG_DATA_HOME to a directory on ext4, xfs or btrfs";
    return finding;
  }
  struct statvfs space{};
  if (::statvfs(dirs.data.c_str(), &space) != 0) return finding;
  const std::uint64_t free_bytes = std::uint64_t{space.f_bavail} * space.f_frsize;
  finding.detail += str_cat(", ", human_size(free_bytes), " free");
  if (free_bytes < kComfortableBytes) {
    finding.health = Health::kLess;
    finding.remedy = "a VM may write 4 GiB by default: make room, or give --disk";
  }
  return finding;
}

Finding check_runtime(const StateDirs& dirs) {
  Finding finding{
      .subject = "sockets", .health = Health::kGood, .detail = dirs.runtime.string(), .remedy = {}};
  const bool in_data = dirs.runtime.parent_path() == dirs.data;
  if (in_data) {
    finding.health = Health::kLess;
    finding.detail += ": XDG_RUNTIME_DIR is not set, or another user's";
    finding.remedy = "log in through PAM (loginctl enable-linger for services); what is there works, too";
  }
  return finding;
}

Finding check_privacy(const StateDirs& dirs) {
  std::string open;
  for (const auto& place : places_open_to_others(dirs))
    open += str_cat(open.empty() ? "" : ", ", printable(place.string()));
  if (open.empty()) {
    return {.subject = "privacy",
            .health = Health::kGood,
            .detail = "images and VMs are closed to other users of this host",
            .remedy = {}};
  }
  return {.subject = "privacy",
          .health = Health::kLess,
          .detail = str_cat("others of this host can enter ", open),
          .remedy =
              "chmod 0700, unless they are shared on purpose; the next command closes those whose place "
              "nobody has chosen"};
}

Finding check_qemu_version(const std::string& version) {
  Finding finding{.subject = "QEMU", .health = Health::kGood, .detail = version, .remedy = {}};
  const unsigned major = qemu_major(version);
  if (major == 0) {
    finding.health = Health::kLess;
    finding.detail += ": of which version it is can't be told";
  } else if (major < kOldestQemuMajor) {
    finding.health = Health::kMissing;
    finding.remedy = "QEMU 7.2 or later: --net passt and the machine's options need it";
  }
  return finding;
}

Finding check_tool(const std::string& name, const std::string& purpose, const std::string& remedy) {
  const auto found = find_in_path(name);
  if (found) return {.subject = name, .health = Health::kGood, .detail = found->string(), .remedy = {}};
  return {.subject = name,
          .health = Health::kLess,
          .detail = str_cat("not installed: no ", purpose),
          .remedy = remedy};
}

Finding check_foreign_machine(const Architecture& architecture) {
  Finding finding{.subject = str_cat("linux/", architecture.name),
                  .health = Health::kLess,
                  .detail = "can't be emulated: ",
                  .remedy = str_cat("for --platform linux/", architecture.name, " alone")};
  const auto qemu = find_qemu({}, architecture);
  const auto guest_init = find_guest_init({}, architecture);
  if (!qemu || !guest_init) {
    finding.detail += (qemu ? guest_init : qemu).error().describe();
    return finding;
  }
  return {.subject = std::move(finding.subject),
          .health = Health::kGood,
          .detail = str_cat("emulated by ", qemu->string()),
          .remedy = {}};
}

Finding check_foreign_programs() {
  std::string names;
  for (const EmulatedPrograms& programs : emulated_programs()) {
    if (programs.name != own_architecture().name && find_interpreter(programs, own_architecture()))
      names += str_cat(names.empty() ? "" : ", ", programs.name);
  }
  if (names.empty()) {
    return {.subject = "programs",
            .health = Health::kLess,
            .detail = "no interpreter for another architecture's: no --binfmt",
            .remedy = "apt install qemu-user-static"};
  }
  return {.subject = "programs",
          .health = Health::kGood,
          .detail = str_cat("guests run those for ", names, ", too, with --binfmt"),
          .remedy = {}};
}

std::string findings_text(const std::vector<Finding>& findings) {
  std::string text;
  for (const Finding& finding : findings) {
    std::array<char, 64> head{};
    std::snprintf(head.data(), head.size(), "%-16s %-8s ", finding.subject.c_str(), word(finding.health));
    text += str_cat(std::string_view(head.data()), finding.detail, '\n');
    if (!finding.remedy.empty()) text += str_cat("                          -> ", finding.remedy, '\n');
  }
  return text;
}

std::string findings_json(const std::vector<Finding>& findings) {
  nlohmann::json list = nlohmann::json::array();
  for (const Finding& finding : findings) {
    list.push_back({{"subject", finding.subject},
                    {"health", word(finding.health)},
                    {"detail", finding.detail},
                    {"remedy", finding.remedy}});
  }
  return store::json_text(list, 2) + "\n";
}

}  // namespace layerboot::launcher
