#include "guest-init/console.h"

#include <fcntl.h>
#include <sys/reboot.h>
#include <termios.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace guest_init {

namespace {

int kept_kernel_log = -1;

void put(int fd, std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = write(fd, text.data(), text.size());
    if (written <= 0 && errno != EINTR) return;
    if (written > 0) text.remove_prefix(static_cast<std::size_t>(written));
  }
}

[[noreturn]] void end_machine(int command) {
  sync();
  tcdrain(STDERR_FILENO);  // or the last line is lost with the machine
  reboot(command);
  for (;;) pause();  // the kernel is on its way down; returning would be a panic
}

}  // namespace

void say(std::string_view text) { put(STDERR_FILENO, "layerboot: " + std::string(text) + "\n"); }

void keep_kernel_log() { kept_kernel_log = open("/dev/kmsg", O_WRONLY | O_CLOEXEC); }

void note(std::string_view text) {
  const int fd = kept_kernel_log >= 0 ? kept_kernel_log : open("/dev/kmsg", O_WRONLY | O_CLOEXEC);
  if (fd < 0) return;
  put(fd, "<6>layerboot: " + std::string(text) + "\n");
  if (fd != kept_kernel_log) close(fd);
}

void stop_boot(std::string_view text) {
  say("boot stopped: " + std::string(text));
  say("powering off");
  power_off();
}

void power_off() { end_machine(RB_POWER_OFF); }
void restart() { end_machine(RB_AUTOBOOT); }

std::string because() { return std::string(": ") + std::strerror(errno); }

}  // namespace guest_init
