#include "oci-mount/base/identity_names.h"

#include <algorithm>
#include <array>

namespace layerboot {

namespace {

constexpr std::array<std::string_view, 2> kBelow = {"/run/", "/tmp/"};

constexpr std::array<std::string_view, 9> kFiles = {
    "/etc/machine-id",
    "/var/lib/dbus/machine-id",
    "/var/lib/systemd/credential.secret",
    // systemd-random-seed(8), systemd-boot(7), and the init scripts of Debian, Alpine and Red Hat
    "/var/lib/systemd/random-seed",
    "/boot/loader/random-seed",
    "/boot/efi/loader/random-seed",
    "/var/lib/urandom/random-seed",
    "/var/lib/misc/random-seed",
    "/var/lib/random-seed",
};

/// sshd_config(5), HostKey.
bool is_ssh_host_key(std::string_view path) {
  constexpr std::string_view kBegin = "/etc/ssh/ssh_host_";
  return path.starts_with(kBegin) && path.find('/', kBegin.size()) == std::string_view::npos &&
         (path.ends_with("_key") || path.ends_with("_key.pub"));
}

}  // namespace

bool belongs_to_one_machine(std::string_view path) {
  return std::ranges::find(kFiles, path) != kFiles.end() || is_ssh_host_key(path) ||
         std::ranges::any_of(kBelow, [&](std::string_view below) { return path.starts_with(below); });
}

}  // namespace layerboot
