#include "launcher/host/programs.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <string>
#include <vector>

namespace layerboot::launcher {

namespace {

using std::filesystem::path;

bool is_executable(const path& file) {
  struct stat st{};
  return ::stat(file.c_str(), &st) == 0 && S_ISREG(st.st_mode) && ::access(file.c_str(), X_OK) == 0;
}

path own_directory() { return own_program().value_or(path()).parent_path(); }

Result<path> find_companion(const path& given, const char* name, const char* option,
                            const std::vector<path>& beside) {
  if (!given.empty()) {
    if (is_executable(given)) return given;
    return fail(ENOENT, option, " ", given.string(), ": no executable file there");
  }
  const path here = own_directory();
  for (const path& relative : beside) {
    if (const path candidate = (here / relative).lexically_normal(); is_executable(candidate))
      return candidate;
  }
  if (auto found = find_in_path(name)) return found;
  return fail(ENOENT, "cannot find ", name, " beside ", (here / "layerboot").string(),
              " or in PATH: install it, or name it with ", option);
}

/// As installed, or in the source tree beside the build.
Result<path> find_script(const char* installed, const char* in_source) {
  const path here = own_directory();
  for (const path& script : {here / "../share/layerboot" / installed, here / "../../.." / in_source}) {
    if (const path candidate = script.lexically_normal(); is_executable(candidate)) return candidate;
  }
  return fail(ENOENT, "cannot find ", installed, " beside ", (here / "layerboot").string(),
              ": install it, or build in the source tree");
}

}  // namespace

Result<path> own_program() {
  std::error_code error;
  path program = std::filesystem::read_symlink("/proc/self/exe", error);
  if (error) return fail(error.value(), "/proc/self/exe");
  return program;
}

Result<path> find_in_path(std::string_view name) {
  const char* variable = std::getenv("PATH");
  std::string_view rest = variable == nullptr ? "/usr/bin:/bin" : variable;
  while (!rest.empty()) {
    const std::string_view folder = rest.substr(0, rest.find(':'));
    rest.remove_prefix(folder.size() < rest.size() ? folder.size() + 1 : rest.size());
    if (folder.empty()) continue;
    if (const path candidate = path(folder) / name; is_executable(candidate)) return candidate;
  }
  return fail(ENOENT, "no ", name, " in PATH");
}

Result<path> find_vfsd(const path& given) {
  return find_companion(given, "vfsd", "--vfsd", {"vfsd", "../vfsd/vfsd", "../vfsd/daemon/vfsd"});
}

Result<path> find_guest_init(const path& given, const Architecture& architecture) {
  const std::string name =
      is_foreign(architecture) ? str_cat("guest-init-", architecture.name) : std::string("guest-init");
  auto found = find_companion(given, name.c_str(), "--guest-init",
                              {path("../libexec/layerboot") / name, path("../guest-init") / name, name});
  if (found || !given.empty() || !is_foreign(architecture)) return found;
  return fail(ENOENT, found.error().text, "; it is built where the cross compiler is (./dev setup --arch ",
              architecture.name, ")");
}

Result<path> find_oci_mount(const path& given) {
  return find_companion(given, "oci-mount", "--oci-mount", {"oci-mount", "../oci-mount/mount/oci-mount"});
}

Result<path> find_passt() {
  if (auto found = find_in_path("passt")) return found;
  return fail(ENOENT, "passt is not installed: apt install passt, or take --net user");
}

Result<path> find_kernel_build() { return find_script("kernel/build.sh", "kernel/build.sh"); }

Result<path> find_image_build() { return find_script("image/image.sh", "scripts/dev.d/image.sh"); }

Result<path> find_qemu(const path& given, const Architecture& architecture) {
  if (!given.empty()) {
    if (is_executable(given)) return given;
    return fail(ENOENT, "--qemu ", given.string(), ": no executable file there");
  }
  if (auto found = find_in_path(architecture.qemu)) return found;
  return fail(ENOENT, architecture.qemu, " is not installed: apt install ", architecture.qemu_package);
}

}  // namespace layerboot::launcher
