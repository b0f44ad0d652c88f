#include "guest-init/power_button.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/input.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <array>
#include <string>

#include "guest-init/modules.h"

namespace guest_init {

namespace {

constexpr std::size_t kMaxDevices = 16;

bool has_power_key(int device) {
  std::array<unsigned char, KEY_MAX / 8 + 1> keys{};
  if (ioctl(device, EVIOCGBIT(EV_KEY, keys.size()), keys.data()) < 0) return false;
  return (keys[KEY_POWER / 8] >> (KEY_POWER % 8) & 1) != 0;
}

}  // namespace

void PowerButton::open(int root) {
  for (const char* name : {"button", "evdev"}) load_module_of_root(root, name);
  const int directory = openat(root, "dev/input", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  DIR* stream = directory < 0 ? nullptr : fdopendir(directory);
  if (!stream) return;
  while (const dirent* entry = readdir(stream)) {
    if (!std::string_view(entry->d_name).starts_with("event") || devices_.size() == kMaxDevices) continue;
    Fd device(openat(directory, entry->d_name, O_RDONLY | O_NONBLOCK | O_CLOEXEC));
    if (device && has_power_key(device.get())) devices_.push_back(std::move(device));
  }
  closedir(stream);
}

void PowerButton::add_polls(std::vector<pollfd>& polls) const {
  for (const auto& device : devices_) polls.push_back({device.get(), POLLIN, 0});
}

bool PowerButton::pressed() {
  bool down = false;
  for (auto& device : devices_) {
    input_event event{};
    while (read(device.get(), &event, sizeof(event)) == static_cast<ssize_t>(sizeof(event))) {
      down = down || (event.type == EV_KEY && event.code == KEY_POWER && event.value == 1);
    }
  }
  return down;
}

}  // namespace guest_init
