#include "guest-init/modules.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <cerrno>
#include <vector>

#include "guest-init/console.h"
#include "guest-init/mounts.h"

namespace guest_init {

namespace {

std::vector<std::string> names_in(const std::string& directory) {
  std::vector<std::string> names;
  DIR* stream = opendir(directory.c_str());
  if (!stream) return names;
  while (const dirent* entry = readdir(stream)) {
    if (entry->d_name[0] != '.') names.emplace_back(entry->d_name);
  }
  closedir(stream);
  return names;
}

std::string modules_directory() {
  utsname system{};
  uname(&system);
  return std::string("/lib/modules/") + system.release + "/";
}

}  // namespace

ModuleLoader::ModuleLoader()
    : directory_(modules_directory()),
      index_(read_text(directory_ + "modules.dep"), read_text(directory_ + "modules.alias")) {}

bool ModuleLoader::load(const std::string& alias) {
  bool good = true;
  for (const auto& file : index_.files_for(alias)) {
    if (!tried_files_.insert(file).second) continue;
    const int fd = open((directory_ + file).c_str(), O_RDONLY | O_CLOEXEC);
    if (fd >= 0 && syscall(SYS_finit_module, fd, "", 0) == 0) {
      ++loaded_;
    } else if (errno != EEXIST && errno != ENODEV) {  // there already, or for hardware that is not here
      say("module " + file + " does not load" + because());
      good = false;
    }
    if (fd >= 0) close(fd);
  }
  return good;
}

void ModuleLoader::load_for_devices() {
  if (index_.empty()) return;
  for (int round = 0; round < kMaxRounds; ++round) {
    bool found_new = false;
    // Every device with a modalias is on a bus; this list is much shorter than the whole of /sys/devices.
    for (const auto& bus : names_in("/sys/bus")) {
      const std::string devices = "/sys/bus/" + bus + "/devices/";
      for (const auto& device : names_in(devices)) {
        const std::string path = devices + device;
        if (!seen_devices_.insert(path).second) continue;
        std::string alias = read_text(path + "/modalias");
        while (!alias.empty() && alias.back() == '\n') alias.pop_back();
        if (alias.empty()) continue;
        found_new = true;
        load(alias);
      }
    }
    if (!found_new) return;
  }
}

}  // namespace guest_init
