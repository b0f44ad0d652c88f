#include "guest-init/fill_gaps.h"

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "guest-init/console.h"
#include "guest-init/disk.h"
#include "guest-init/fd.h"
#include "guest-init/files.h"
#include "guest-init/init_choice.h"
#include "guest-init/machine_files.h"
#include "guest-init/modules.h"

namespace guest_init {

namespace {

constexpr const char* kOurs = "/run/layerboot";
constexpr std::string_view kModprobeName = "layerboot-modprobe";

bool is_there(const char* path) { return access(path, F_OK) == 0; }

/// Puts a file of ours over one of the image's, which stays as it is underneath.
bool cover(const std::string& name, std::string_view text, const char* path) {
  make_directories(kOurs);
  const std::string ours = std::string(kOurs) + "/" + name;
  struct stat st{};
  const bool known = stat(path, &st) == 0;
  if (!write_text(ours, text)) return false;
  if (known) chmod(ours.c_str(), st.st_mode & 07777);
  return mount(ours.c_str(), path, nullptr, MS_BIND, nullptr) == 0;
}

void mend_fstab() {
  const std::string text = read_text("/etc/fstab");
  std::vector<std::string> changed;
  const auto known = [](const std::string& device) {
    if (device.starts_with("/dev/")) return is_there(device.c_str());
    // By file system only: what goes by its partition is another machine's.
    return device.starts_with("UUID=") || device.starts_with("LABEL=") ? !find_root_device(device).empty()
                                                                       : false;
  };
  const std::string lenient = lenient_fstab(text, known, changed);
  if (changed.empty()) return;
  if (!cover("fstab", lenient, "/etc/fstab")) return say("cannot put a file over /etc/fstab" + because());
  std::string list;
  for (const auto& device : changed) list += (list.empty() ? "" : ", ") + device;
  say("/etc/fstab names devices that are not here: " + list + "; they are not waited for");
}

void bring_getty(bool autologin) {
  const std::string inittab = read_text("/etc/inittab");
  if (inittab.empty()) return;
  const bool busybox = resolve_program("/", kInitPaths[0]).ends_with("/busybox");
  const char* program = nullptr;
  for (const char* candidate : {"/sbin/agetty", "/usr/sbin/agetty", "/sbin/getty", "/usr/sbin/getty"}) {
    if (program == nullptr && is_there(candidate)) program = candidate;
  }
  if (program == nullptr) return;
  const std::string text = with_serial_getty(inittab, busybox, program, autologin);
  if (text != inittab && !cover("inittab", text, "/etc/inittab"))
    say("no getty on the console: cannot put a file over /etc/inittab" + because());
}

/// Programs for containers ask the kernel whether it has AppArmor, and then want its parser.
void hide_apparmor() {
  constexpr const char* kEnabled = "/sys/module/apparmor/parameters/enabled";
  if (!is_there(kEnabled)) return;
  for (const char* parser :
       {"/sbin/apparmor_parser", "/usr/sbin/apparmor_parser", "/usr/bin/apparmor_parser"}) {
    if (is_there(parser)) return;
  }
  if (!cover("apparmor-enabled", "N\n", kEnabled)) note("AppArmor can't be hidden" + because());
}

/// This program as the kernel's modprobe, where the image has none.
void bring_modprobe() {
  constexpr const char* kSetting = "/proc/sys/kernel/modprobe";
  for (const char* modprobe : {"/sbin/modprobe", "/usr/sbin/modprobe"}) {
    if (is_there(modprobe)) return;
  }
  make_directories(kOurs);
  const std::string path = std::string(kOurs) + "/" + std::string(kModprobeName);
  // By its own name it is gone: the initramfs has been freed.
  const Fd from(open("/proc/self/exe", O_RDONLY | O_CLOEXEC));
  const Fd to(open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0755));
  struct stat st{};
  bool good = from && to && fstat(from.get(), &st) == 0;
  for (off_t left = st.st_size; good && left > 0;) {
    const ssize_t sent = sendfile(to.get(), from.get(), nullptr, static_cast<std::size_t>(left));
    good = sent > 0;
    left -= sent;
  }
  if (!good || !write_text(kSetting, path)) note("no modules on demand" + because());
}

void set_root_password(const std::string& hash) {
  const char* file = is_there("/etc/shadow") ? "/etc/shadow" : "/etc/passwd";
  const std::string before = read_text(file);
  const std::string after = with_root_password(before, hash);
  if (after.empty()) return say(std::string("no password is set: there is no root in ") + file);
  if (after == before) return;
  const std::string fresh = std::string(file) + ".layerboot";
  struct stat st{};
  const bool put = stat(file, &st) == 0 && write_text(fresh, after) &&
                   chown(fresh.c_str(), st.st_uid, st.st_gid) == 0 &&
                   chmod(fresh.c_str(), st.st_mode & 07777) == 0 && rename(fresh.c_str(), file) == 0;
  if (!put) say(std::string("cannot set root's password in ") + file + because());
}

}  // namespace

void fill_gaps(const ImageWorkload& workload, const Gaps& gaps) {
  bring_modprobe();
  hide_apparmor();
  if (!workload.root_password.empty()) set_root_password(workload.root_password);
  if (gaps.stays) return;
  mend_fstab();
  if (!gaps.systemd) bring_getty(workload.autologin);
}

bool is_modprobe(const char* program) { return std::string_view(program).ends_with(kModprobeName); }

int run_as_modprobe(int count, char** arguments) {
  ModuleLoader loader;
  bool good = count > 1;
  for (int i = 1; i < count; ++i) {
    if (arguments[i][0] != '-') good = loader.load(arguments[i]) && good;
  }
  return good ? 0 : 1;
}

}  // namespace guest_init
