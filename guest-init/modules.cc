#include "guest-init/modules.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <vector>

#include "guest-init/console.h"
#include "guest-init/fd.h"
#include "guest-init/files.h"

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

// linux/module.h; older headers lack it.
constexpr int kCompressedFile = 4;

/// 0, or the errno.
int load_file(int directory, const std::string& file) {
  const Fd fd(openat(directory, file.c_str(), O_RDONLY | O_CLOEXEC));
  const int flags = file.ends_with(".ko") ? 0 : kCompressedFile;
  return fd && syscall(SYS_finit_module, fd.get(), "", flags) == 0 ? 0 : errno;
}

std::string modules_directory() {
  utsname system{};
  uname(&system);
  return std::string("/lib/modules/") + system.release + "/";
}

/// As deep as DKMS and the kernel's makefiles put them.
bool holds_modules(const std::string& directory, int depth = 8) {
  for (const auto& name : names_in(directory)) {
    if (name.ends_with(".ko") || name.contains(".ko.")) return true;
    if (depth > 0 && holds_modules(directory + "/" + name, depth - 1)) return true;
  }
  return false;
}

/// The program's exit status; below 0 where it did not run.
int run_and_wait(const char* program, const char* argument) {
  const pid_t pid = fork();
  if (pid == 0) {
    execl(program, program, argument, nullptr);
    _exit(127);
  }
  int status = 0;
  if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFEXITED(status)) return -1;
  return WEXITSTATUS(status);
}

}  // namespace

ModuleLoader::ModuleLoader()
    : directory_(modules_directory()),
      index_(read_text(directory_ + "modules.dep"), read_text(directory_ + "modules.alias")) {}

bool ModuleLoader::load(const std::string& alias) {
  bool good = true;
  for (const auto& file : index_.files_for(alias)) {
    if (!tried_files_.insert(file).second) continue;
    const int code = load_file(AT_FDCWD, directory_ + file);
    if (code == 0) {
      ++loaded_;
    } else if (code != EEXIST && code != ENODEV) {  // there already, or for hardware that is not here
      say("module " + file + " does not load: " + strerror(code));
      good = false;
    }
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

void link_modules() {
  std::string here = modules_directory();
  here.pop_back();
  const std::string there = "/usr" + here;
  if (access(here.c_str(), F_OK) == 0 || access(there.c_str(), F_OK) != 0) return;
  make_directories("/lib/modules");
  // Relative, so that it also leads there from outside of the image.
  if (symlink(("../.." + there).c_str(), here.c_str()) != 0) note("no modules in " + here + because());
}

std::vector<std::string> places_without_index(const std::string& directory) {
  std::vector<std::string> places;
  for (const char* place : kPlacesOfMore) {
    if (access((directory + place).c_str(), F_OK) == 0) places.emplace_back(place);
  }
  if (places.empty()) return places;
  const std::string index = "\n" + read_text(directory + "modules.dep");
  std::erase_if(places, [&](const std::string& place) {
    return index.contains("\n" + place + "/") || !holds_modules(directory + place);
  });
  return places;
}

void index_modules_of_image() {
  const std::string directory = modules_directory();
  if (places_without_index(directory).empty()) return;
  const std::string release = directory.substr(directory.find_last_of('/', directory.size() - 2) + 1);
  for (const char* program : {"/sbin/depmod", "/usr/sbin/depmod"}) {
    if (access(program, X_OK) != 0) continue;
    if (run_and_wait(program, release.substr(0, release.size() - 1).c_str()) == 0) return;
    return say("depmod has failed: modules of the image are not in the index of " + directory);
  }
  say("modules of the image are not in the index of " + directory + ", and it has no depmod");
}

void load_module_of_root(int root, const std::string& name) {
  const Fd directory(openat(root, modules_directory().substr(1).c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!directory) return;
  const ModuleIndex index(read_text_at(directory.get(), "modules.dep"), "");
  for (const auto& file : index.files_for(name)) {
    const int code = load_file(directory.get(), file);
    if (code != 0 && code != EEXIST) note("module " + file + " does not load: " + strerror(code));
  }
}

}  // namespace guest_init
