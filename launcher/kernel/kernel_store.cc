#include "launcher/kernel/kernel_store.h"

#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>

#include "oci-mount/base/absolute_path.h"
#include "oci-mount/base/files.h"

namespace layerboot::launcher {

namespace {

constexpr std::size_t kMaxReleaseBytes = 64;  // __NEW_UTS_LEN
constexpr std::size_t kMaxSeriesBytes = 16;
constexpr std::size_t kMaxNameBytes = 200;

bool is_series(std::string_view text) {
  return !text.empty() && text.size() <= kMaxSeriesBytes && text.front() != '.' && text.back() != '.' &&
         std::all_of(text.begin(), text.end(), [](char c) { return (c >= '0' && c <= '9') || c == '.'; });
}

bool is_readable(const std::filesystem::path& path) { return ::access(path.c_str(), R_OK) == 0; }

/// A reference or a path as the name of a directory.
std::string as_name(std::string_view prefix, std::string_view text) {
  std::string name(prefix);
  for (const char c : text) {
    const bool plain = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '.';
    name += plain ? c : '-';
  }
  return name.substr(0, kMaxNameBytes);
}

}  // namespace

std::string KernelSpec::store_name() const {
  const std::string ending = architecture.empty() ? "" : str_cat('-', architecture);
  switch (kind) {
    case Kind::kDebian:
      return str_cat("debian", series.empty() ? "" : "-", series, ending);
    case Kind::kCustom:
      return "custom";
    case Kind::kHost: {
      utsname host{};
      ::uname(&host);
      return str_cat("host-", std::string_view(host.release));
    }
    case Kind::kImage:
      return as_name("image-", image) + ending;
    case Kind::kFile:
      return as_name("file-", directory.string());
    case Kind::kDirectory:
      break;
  }
  return {};
}

namespace {

Result<KernelSpec> parse_words(std::string_view text) {
  KernelSpec spec;
  if (text == "debian") return spec;
  if (text == "custom" || text == "host") {
    spec.kind = text == "host" ? KernelSpec::Kind::kHost : KernelSpec::Kind::kCustom;
    return spec;
  }
  if (text.starts_with("image:") && text.size() > 6) {
    spec.kind = KernelSpec::Kind::kImage;
    spec.image = text.substr(6);
    return spec;
  }
  if (text == "." || text == ".." || text.find('/') != std::string_view::npos) {
    spec.directory = text;
    std::error_code ignored;
    const bool file = std::filesystem::is_regular_file(spec.directory, ignored);
    spec.kind = file ? KernelSpec::Kind::kFile : KernelSpec::Kind::kDirectory;
    if (!file) return spec;
    LB_ASSIGN(spec.directory, normal_absolute_path(spec.directory));
    return spec;
  }
  if (text.starts_with("debian:") && is_series(text.substr(7))) {
    spec.series = text.substr(7);
    return spec;
  }
  return fail(EINVAL, "kernel '", text,
              "': say debian, debian:6.1 (a series), custom, host, image:REFERENCE, a kernel's file, or the "
              "directory of a "
              "prepared kernel");
}

}  // namespace

Result<KernelSpec> parse_kernel_spec(std::string_view text, const Architecture& architecture) {
  LB_ASSIGN(KernelSpec spec, parse_words(text));
  if (!is_foreign(architecture)) return spec;
  const bool there_is = spec.kind == KernelSpec::Kind::kDebian || spec.kind == KernelSpec::Kind::kImage ||
                        spec.kind == KernelSpec::Kind::kDirectory;
  if (!there_is) {
    return fail(EINVAL, "kernel '", text, "' is this machine's, and not for ", architecture.name,
                ": take debian, image:REFERENCE, or the directory of a prepared kernel");
  }
  spec.architecture = architecture.name;
  return spec;
}

bool is_release(std::string_view text) {
  return !text.empty() && text.size() <= kMaxReleaseBytes && text.front() != '.' && text.front() != '-' &&
         std::all_of(text.begin(), text.end(), [](char c) {
           return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '.' ||
                  c == '-' || c == '_' || c == '+' || c == '~';
         });
}

namespace {

/// What the option is set to, 'y' or 'm'; 'n' when it is not.
char option_value(std::string_view config, std::string_view option) {
  const std::string line = str_cat("CONFIG_", option, "=");
  for (std::size_t at = config.find(line); at != std::string_view::npos; at = config.find(line, at + 1)) {
    if (at != 0 && config[at - 1] != '\n') continue;
    const std::string_view value = config.substr(at + line.size(), 1);
    return value.empty() ? 'n' : value.front();
  }
  return 'n';
}

}  // namespace

bool config_has_virtiofs(std::string_view config) {
  const char value = option_value(config, "VIRTIO_FS");
  return value == 'y' || value == 'm';
}

bool config_has_builtin(std::string_view config, std::string_view option) {
  return option_value(config, option) == 'y';
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
  LB_ASSIGN(const std::string config, read_file(directory / "config", kMaxKernelConfigBytes));
  if (!config_has_virtiofs(config)) return std::unexpected(no_virtiofs_error(kernel.release));
  kernel.has_modules = is_readable(kernel.modules_tar());
  return kernel;
}

}  // namespace layerboot::launcher
