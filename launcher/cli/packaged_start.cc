#include "launcher/cli/packaged_start.h"

#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <filesystem>
#include <system_error>
#include <utility>

#include "launcher/images/package_layout.h"
#include "launcher/vm/vm_config.h"
#include "oci-mount/base/log.h"
#include "oci-mount/base/printable.h"
#include "oci-mount/base/size.h"

namespace layerboot::launcher {

namespace {

namespace fs = std::filesystem;

/// What engines mount in every container; what is below these, too.
constexpr std::array<std::string_view, 12> kEnginesMounts = {"/proc",
                                                             "/sys",
                                                             "/dev",
                                                             "/etc/resolv.conf",
                                                             "/etc/hosts",
                                                             "/etc/hostname",
                                                             "/.dockerenv",
                                                             "/run/.containerenv",
                                                             "/sbin/docker-init",
                                                             "/run/podman-init",
                                                             kPackagedState,
                                                             kPackageDirectory};
/// What podman makes writable in a container whose root is not: the guest's is its own.
constexpr std::array<std::string_view, 3> kEnginesTmpfs = {"/run", "/tmp", "/var/tmp"};

bool is_at_or_below(std::string_view path, std::string_view top) {
  return path == top || (path.starts_with(top) && path[top.size()] == '/');
}

bool is_engines(const MountPoint& mount) {
  if (mount.path == "/") return true;
  const bool is_always_there = std::ranges::any_of(
      kEnginesMounts, [&](std::string_view top) { return is_at_or_below(mount.path, top); });
  return is_always_there ||
         (mount.type == "tmpfs" && std::ranges::find(kEnginesTmpfs, mount.path) != kEnginesTmpfs.end());
}

Result<void> take_mount(const MountPoint& mount, RunSettings& settings) {
  auto guest = parse_mount_point(mount.path);
  if (!guest) {
    log_warn("the container's ", printable(mount.path),
             " is not handed on to the VM: ", guest.error().describe());
    return {};
  }
  std::error_code ignored;
  const bool is_directory = fs::is_directory(mount.path, ignored);
  if (is_directory && mount.type == "tmpfs" && !mount.read_only && fs::is_empty(mount.path, ignored)) {
    LB_ASSIGN(const auto tmpfs, parse_tmpfs(*guest));
    if (tmpfs) settings.tmpfs.push_back(*tmpfs);
    return {};
  }
  Volume volume{.host = mount.path, .guest = *std::move(guest)};
  if (!is_directory && !mount.read_only)
    log_warn(printable(mount.path), " is a file: the VM sees it as it is now, and changes to it stay there");
  if (mount.read_only || !is_directory) volume.kind = VolumeKind::kReadOnly;
  settings.volumes.push_back(std::move(volume));
  return {};
}

}  // namespace

bool is_packaged(const StateDirs& dirs) {
  std::error_code ignored;
  return dirs.data == kPackagedState && dirs.runtime.parent_path() == kPackagedRuntime &&
         fs::exists(kPackagedOptions, ignored);
}

Result<fs::path> packaged_runtime(const fs::path& shared, const fs::path& state) {
  struct stat st{};
  if (::stat(state.c_str(), &st) != 0) return errno_error(state.string());
  return shared / str_cat("layerboot-", st.st_dev, '-', st.st_ino);
}

std::vector<std::string> words_of(std::string_view text) {
  std::vector<std::string> words;
  std::string word;
  const auto end_word = [&] {
    if (!word.empty()) words.push_back(std::exchange(word, {}));
  };
  for (const char c : text) {
    if (std::isspace(static_cast<unsigned char>(c)) != 0) {
      end_word();
    } else {
      word += c;
    }
  }
  end_word();
  return words;
}

std::vector<std::string> guest_environment(const std::vector<std::string>& variables) {
  constexpr std::array<std::string_view, 8> kOwn = {
      "HOME",           "HOSTNAME",        "TERM",          "container", "XDG_DATA_HOME",
      "XDG_CACHE_HOME", "XDG_RUNTIME_DIR", kOptionsVariable};
  std::vector<std::string> chosen;
  for (const std::string& variable : variables) {
    const std::string_view name = std::string_view(variable).substr(0, variable.find('='));
    const bool is_package_path = name == "PATH" && variable.substr(name.size() + 1) == kPackagedPath;
    if (!is_package_path && std::ranges::find(kOwn, name) == kOwn.end()) chosen.push_back(variable);
  }
  return chosen;
}

Result<void> take_mounts(const std::vector<MountPoint>& mounts, RunSettings& settings) {
  for (const MountPoint& mount : mounts) {
    std::error_code ignored;
    // The share of a directory has the files that are mounted in it.
    const bool is_shared_already =
        !fs::is_directory(mount.path, ignored) &&
        std::ranges::any_of(settings.volumes, [&](const Volume& volume) {
          return mount.path != volume.host && is_at_or_below(mount.path, volume.host);
        });
    if (!is_engines(mount) && !is_shared_already) LB_TRY(take_mount(mount, settings));
  }
  if (settings.volumes.size() <= kMaxVolumes) return {};
  return fail(E2BIG, "the container has more than ", kMaxVolumes, " directories mounted: a VM takes no more");
}

namespace {

void publish_outside(std::vector<PublishedPort>& published) {
  for (PublishedPort& port : published) {
    if (port.address == PublishedPort().address) port.address = kAllAddresses;
  }
}

/// Options come packaged and with the container: of two for one port the latter counts.
void keep_last_of_each_port(std::vector<PublishedPort>& published) {
  std::vector<PublishedPort> kept;
  for (const PublishedPort& port : published) {
    std::erase_if(kept, [&](const PublishedPort& earlier) {
      if (!ports_collide(earlier, port)) return false;
      if (earlier.guest != port.guest)
        log_warn("port ", port.host, " leads to the VM's ", port.guest, ", and no more to its ",
                 earlier.guest, ": -p was given for both, and the last counts");
      return true;
    });
    kept.push_back(port);
  }
  published = std::move(kept);
}

}  // namespace

std::vector<std::string> joined_options(const std::vector<std::string>& packaged,
                                        const std::vector<std::string>& given) {
  const auto is = [](std::string_view word, std::string_view option) {
    return word == option || word.starts_with(str_cat(option, "="));
  };
  const auto has = [&](std::string_view option) {
    return std::ranges::any_of(given, [&](const std::string& word) { return is(word, option); });
  };
  std::vector<std::string> words;
  for (std::size_t i = 0; i < packaged.size(); ++i) {
    if (is(packaged[i], "--accel") && has("--require-kvm")) {
      // Its value may be a word of its own.
      if (packaged[i] == "--accel") ++i;
      continue;
    }
    if (is(packaged[i], "--require-kvm") && has("--accel")) continue;
    words.push_back(packaged[i]);
  }
  words.insert(words.end(), given.begin(), given.end());
  return words;
}

void take_ports(const std::vector<std::string>& exposed, RunSettings& settings, const PortCheck& check) {
  const auto is_not_to_be_had = [&check](const PublishedPort& port) {
    const auto free = check ? check(port) : Result<void>();
    if (!free)
      log_warn("the image exposes port ", port.guest, ", which is not forwarded: ", free.error().describe());
    return !free;
  };
  for (PublishedPort& port : settings.published) {
    if (std::exchange(port.random, false)) port.host = port.guest;
  }
  publish_outside(settings.published);
  keep_last_of_each_port(settings.published);
  const auto asked_for = static_cast<std::ptrdiff_t>(settings.published.size());
  publish_exposed_in_place(exposed, settings);
  publish_outside(settings.published);
  const auto first = settings.published.begin() + asked_for;
  settings.published.erase(std::remove_if(first, settings.published.end(), is_not_to_be_had),
                           settings.published.end());
  // Done, and at ports that are known.
  settings.publish_all = false;
}

Result<std::uint64_t> memory_within(std::uint64_t limit_bytes, bool is_emulated) {
  const std::uint64_t overhead_bytes = vm_overhead_bytes(is_emulated);
  if (limit_bytes < overhead_bytes + kMinMemoryBytes) {
    return fail(ENOMEM, "the container may have ", limit_bytes / kMib,
                " MiB of memory: ", is_emulated ? "an emulated VM" : "a VM", " needs at least ",
                (overhead_bytes + kMinMemoryBytes) / kMib,
                " MiB there, or --memory in LAYERBOOT_OPTIONS by which you say that it fits");
  }
  return (limit_bytes - overhead_bytes) / kMib * kMib;
}

}  // namespace layerboot::launcher
