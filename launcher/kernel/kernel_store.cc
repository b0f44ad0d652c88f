#include "launcher/kernel/kernel_store.h"

#include <unistd.h>

#include <algorithm>

#include "oci-mount/base/files.h"

namespace layerboot::launcher {

namespace {

constexpr std::size_t kMaxReleaseBytes = 64;  // __NEW_UTS_LEN
constexpr std::size_t kMaxConfigBytes = std::size_t{4} << 20;
constexpr std::size_t kMaxSeriesBytes = 16;

bool is_series(std::string_view text) {
  return !text.empty() && text.size() <= kMaxSeriesBytes && text.front() != '.' && text.back() != '.' &&
         std::all_of(text.begin(), text.end(), [](char c) { return (c >= '0' && c <= '9') || c == '.'; });
}

bool is_readable(const std::filesystem::path& path) { return ::access(path.c_str(), R_OK) == 0; }

}  // namespace

std::string KernelSpec::store_name() const { return series.empty() ? "debian" : str_cat("debian-", series); }

Result<KernelSpec> parse_kernel_spec(std::string_view text) {
  KernelSpec spec;
  if (text == "debian") return spec;
  if (text == "." || text == ".." || text.find('/') != std::string_view::npos) {
    spec.kind = KernelSpec::Kind::kDirectory;
    spec.directory = text;
    return spec;
  }
  if (text.starts_with("debian:") && is_series(text.substr(7))) {
    spec.series = text.substr(7);
    return spec;
  }
  return fail(EINVAL, "kernel '", text,
              "': say debian, debian:6.1 (a series), or the directory of a prepared kernel");
}

bool is_release(std::string_view text) {
  return !text.empty() && text.size() <= kMaxReleaseBytes && text.front() != '.' && text.front() != '-' &&
         std::all_of(text.begin(), text.end(), [](char c) {
           return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '.' ||
                  c == '-' || c == '_' || c == '+' || c == '~';
         });
}

bool config_has_virtiofs(std::string_view config) {
  constexpr std::string_view kOption = "CONFIG_VIRTIO_FS=";
  for (std::size_t at = config.find(kOption); at != std::string_view::npos;
       at = config.find(kOption, at + 1)) {
    if (at != 0 && config[at - 1] != '\n') continue;
    const std::string_view value = config.substr(at + kOption.size(), 1);
    return value == "y" || value == "m";
  }
  return false;
}

Error no_virtiofs_error(std::string_view release) {
  return Error{
      EINVAL, str_cat("kernel ", release,
                      " has no virtiofs, neither built in nor as a module: use --kernel debian, or one built "
                      "with CONFIG_VIRTIO_FS")};
}

Result<StoredKernel> open_kernel(const std::filesystem::path& directory) {
  StoredKernel kernel;
  kernel.directory = directory;
  for (const char* name : {"vmlinuz", "release", "config"}) {
    if (is_readable(directory / name)) continue;
    return fail(ENOENT, "no kernel in ", directory.string(), ": ", name,
                " is missing; --kernel debian fetches one from Debian's packages");
  }
  LB_ASSIGN(kernel.release, read_file(directory / "release", kMaxReleaseBytes + 1));
  while (!kernel.release.empty() && kernel.release.back() == '\n') kernel.release.pop_back();
  if (!is_release(kernel.release)) {
    return fail(EINVAL, (directory / "release").string(),
                " holds no kernel version: it must be what uname -r says");
  }
  LB_ASSIGN(const std::string config, read_file(directory / "config", kMaxConfigBytes));
  if (!config_has_virtiofs(config)) return std::unexpected(no_virtiofs_error(kernel.release));
  kernel.has_modules = is_readable(kernel.modules_tar());
  return kernel;
}

}  // namespace layerboot::launcher
