#include "guest-init/binfmt.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/mount.h>

#include <string>
#include <string_view>
#include <vector>

#include "guest-init/console.h"
#include "guest-init/fd.h"
#include "guest-init/files.h"
#include "guest-init/modules.h"

namespace guest_init {

namespace {

constexpr const char* kFolder = "/etc/binfmt.d";
constexpr std::string_view kOurs = "layerboot-";
constexpr const char* kFileSystem = "/proc/sys/fs/binfmt_misc";
constexpr std::size_t kMaxFiles = 64;

std::vector<std::string> our_files() {
  std::vector<std::string> files;
  DIR* stream = opendir(kFolder);
  if (stream == nullptr) return files;
  while (const dirent* entry = readdir(stream)) {
    if (std::string_view(entry->d_name).starts_with(kOurs) && files.size() < kMaxFiles)
      files.push_back(std::string(kFolder) + "/" + entry->d_name);
  }
  closedir(stream);
  return files;
}

}  // namespace

void register_interpreters(bool systemd) {
  const auto files = our_files();
  if (files.empty()) return;
  const Fd root(open("/", O_PATH | O_DIRECTORY | O_CLOEXEC));
  load_module_of_root(root.get(), "binfmt_misc");
  // Its systemd-binfmt begins by throwing away what others have registered.
  if (systemd) return;
  if (mount("binfmt_misc", kFileSystem, "binfmt_misc", MS_NOSUID | MS_NODEV | MS_NOEXEC, "") != 0)
    return say(std::string("no programs for other architectures: cannot mount ") + kFileSystem + because());
  for (const auto& file : files) {
    std::string line = read_text(file);
    while (!line.empty() && line.back() == '\n') line.pop_back();
    if (!write_text(std::string(kFileSystem) + "/register", line))
      say("the kernel does not take " + file + because());
  }
}

}  // namespace guest_init
