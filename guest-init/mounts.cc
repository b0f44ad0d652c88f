#include "guest-init/mounts.h"

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cerrno>
#include <ctime>

#include "guest-init/console.h"
#include "guest-init/disk.h"
#include "guest-init/files.h"
#include "guest-init/mount_order.h"
#include "guest-init/tmpfs_options.h"

namespace guest_init {

namespace {

constexpr int kRetryMs = 20;
constexpr int kSayWaitingMs = 2'000;  // past this a person wonders

void mount_or_stop(const char* type, const char* where, unsigned long flags, const char* data) {
  mkdir(where, 0755);
  if (mount(type, where, type, flags, data) == 0 || errno == EBUSY) return;
  stop_boot(std::string("cannot mount ") + type + " on " + where + because());
}

/// Errors that end when the device or its driver arrives: virtiofs gives EINVAL for a tag it does not know
/// yet.
bool may_still_appear(int error) {
  return error == EINVAL || error == ENOENT || error == ENXIO || error == ENODEV;
}

constexpr const char* kReadAheadKib = "512";

/// How far the kernel reads ahead of who reads a file from one end to the other: DESIGN.md.
void set_read_ahead(const char* mounted) {
  struct stat top{};
  if (stat(mounted, &top) != 0) return;
  write_text("/sys/class/bdi/" + std::to_string(major(top.st_dev)) + ":" + std::to_string(minor(top.st_dev)) +
                 "/read_ahead_kb",
             kReadAheadKib);
}

/// Mounts it, and true; or false, with errno.
bool mount_source(const std::string& source, const char* where, const std::string& type, unsigned long flags,
                  const char* data) {
  if (mount(source.c_str(), where, type.c_str(), flags, data) != 0) return false;
  if (type == "virtiofs") set_read_ahead(where);
  return true;
}

void mount_share(const Share& share, const std::string& where) {
  const unsigned long flags = share.read_only ? static_cast<unsigned long>(MS_RDONLY) : 0;
  if (mount_source(share.tag, where.c_str(), "virtiofs", flags, nullptr)) return;
  say("cannot mount the volume " + share.tag + " on " + where + because());
}

void mount_tmpfs(const std::string& words, const std::string& where) {
  const TmpfsOptions options = parse_tmpfs_options(words);
  if (mount("tmpfs", where.c_str(), "tmpfs", options.flags, options.data.c_str()) == 0) return;
  say("cannot mount a tmpfs on " + where + " (" + options.data + ")" + because());
}

}  // namespace

void mount_proc() { mount_or_stop("proc", "/proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, nullptr); }

void mount_early() {
  mount_or_stop("sysfs", "/sys", MS_NOSUID | MS_NODEV | MS_NOEXEC, nullptr);
  mount_or_stop("devtmpfs", "/dev", MS_NOSUID, "mode=0755");
  mount_or_stop("tmpfs", "/run", MS_NOSUID | MS_NODEV, "mode=0755");
}

bool try_until_there(const std::string& what, const std::function<bool()>& attempt,
                     bool (*may_come)(int error)) {
  for (int waited_ms = 0; !attempt(); waited_ms += kRetryMs) {
    if (!may_come(errno) || waited_ms >= kDeviceWaitMs) return false;
    if (waited_ms == kSayWaitingMs) say("waiting for " + what);
    timespec pause{0, kRetryMs * 1'000'000L};
    nanosleep(&pause, nullptr);
  }
  return true;
}

bool mount_when_there(const MountPlan& plan) {
  mkdir(plan.where, 0755);
  bool checked = (plan.flags & MS_RDONLY) != 0;
  const auto attempt = [&plan, &checked] {
    const std::string device = find_root_device(plan.source);
    if (!checked && access(device.c_str(), F_OK) == 0) {
      if (plan.type.starts_with("ext")) check_disk(device);
      checked = true;
    }
    errno = ENOENT;
    return !device.empty() && mount_source(device, plan.where, plan.type, plan.flags, plan.data.c_str());
  };
  return try_until_there(plan.what + " " + plan.source + " (" + plan.type + ")", attempt, may_still_appear);
}

void mount_waiting(const MountPlan& plan) {
  if (mount_when_there(plan)) return;
  std::string text = "cannot mount " + plan.what + " " + plan.source + " (" + plan.type + ")" + because();
  if (errno == ENODEV) text += "; this kernel has no " + plan.type;
  if (errno == EINVAL && plan.type == "virtiofs") {
    text += "; no virtiofs device has this tag, check root= against the device's tag";
  }
  stop_boot(text);
}

void mount_root(const BootOptions& options) {
  const unsigned long flags = options.read_only ? static_cast<unsigned long>(MS_RDONLY) : 0;
  mount_waiting({.source = options.root,
                 .where = kNewRoot,
                 .type = options.root_type,
                 .flags = flags,
                 .data = options.root_flags,
                 .what = "the root"});
}

void mount_into_root(const std::vector<Share>& shares, const std::vector<std::string>& tmpfs) {
  for (const MountStep& step : in_mount_order(shares, tmpfs)) {
    make_directories(step.path);
    if (step.share) {
      mount_share(*step.share, step.path);
    } else {
      mount_tmpfs(step.tmpfs_options, step.path);
    }
  }
}

}  // namespace guest_init
