#include "launcher/vm/run_settings.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <filesystem>

#include "launcher/vm/named_volumes.h"
#include "launcher/vm/split_off.h"
#include "oci-mount/base/absolute_path.h"
#include "oci-mount/base/decimal.h"
#include "oci-mount/base/id_map.h"
#include "oci-mount/base/size.h"

namespace layerboot::launcher {

namespace {

// IFNAMSIZ with its NUL.
constexpr std::size_t kMaxInterfaceBytes = 15;
// As the name of a systemd unit, which is a file name, with four characters for each '-', '@' and '+'.
constexpr std::size_t kMaxUnitNameBytes = 255 - sizeof(".mount");
/// What a Linux system mounts there itself, over whatever the VM had mounted before.
constexpr std::array<std::string_view, 3> kSystemsOwn = {"/proc", "/sys", "/dev"};

Result<void> volume_option(std::string_view option, Volume& volume) {
  constexpr std::string_view kQuota = "quota=";
  constexpr std::string_view kIdMap = "idmap=";
  if (option == "z" || option == "Z") {
    // Docker's, for SELinux on its host: a guest has its own kernel, and nothing of the host's labels.
  } else if (option == "ro") {
    volume.kind = VolumeKind::kReadOnly;
  } else if (option == "rw") {
    volume.kind = VolumeKind::kShared;
  } else if (option == "overlay") {
    volume.kind = VolumeKind::kOverlay;
  } else if (option.starts_with(kQuota)) {
    LB_ASSIGN(volume.quota_bytes, parse_size(option.substr(kQuota.size())));
  } else if (option.starts_with(kIdMap)) {
    volume.id_map = option.substr(kIdMap.size());
    LB_TRY(parse_id_map(volume.id_map));
  } else {
    return fail(EINVAL, "unknown option '", option, "': ro, rw, overlay, quota=SIZE or idmap=UID:GID");
  }
  return {};
}

}  // namespace

Result<std::string> parse_mount_point(std::string_view text) {
  if (!text.starts_with('/')) return fail(EINVAL, "the guest's path must begin with '/'");
  std::string path;
  std::string_view rest = text;
  while (!rest.empty()) {
    const std::string_view part = split_off(rest, '/');
    if (part.empty()) continue;
    if (part == "." || part == "..") return fail(EINVAL, "the guest's path may not hold '.' or '..'");
    path += str_cat('/', part);
  }
  // It goes into a kernel argument and a systemd unit.
  const bool plain = std::ranges::all_of(path, [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) != 0 || std::string_view("/._-+@").find(c) < 6;
  });
  if (path.empty()) return fail(EINVAL, "the guest's path can't be '/'");
  if (!plain) return fail(EINVAL, "the guest's path may hold letters, digits and /._-+@ only");
  const auto escaped = std::ranges::count_if(path, [](char c) { return c == '-' || c == '+' || c == '@'; });
  const std::size_t unit_bytes = path.size() + 3 * static_cast<std::size_t>(escaped);
  if (unit_bytes > kMaxUnitNameBytes) {
    return fail(EINVAL, "the guest's path is too long for the name of a systemd unit: ", unit_bytes,
                " bytes with '-', '+' and '@' escaped, at most ", kMaxUnitNameBytes);
  }
  for (const std::string_view own : kSystemsOwn) {
    if (path == own || path.starts_with(str_cat(own, '/'))) {
      return fail(EINVAL, "the guest's system has its own ", own, ", which would hide what is mounted there");
    }
  }
  return path;
}

Result<void> check_upper(const RunSettings& settings) {
  if (settings.upper == UpperKind::kHost) return {};
  const std::string option = str_cat("--upper ", upper_word(settings.upper));
  if (settings.disk_root)
    return fail(EINVAL, option, " is for a root on virtiofs: --disk-image has a disk of its own already");
  if (settings.no_initrd)
    return fail(EINVAL, option, " needs the initrd, whose guest-init mounts it: leave --no-initrd out");
  if (settings.writeback)
    return fail(EINVAL, option, " keeps writes in the guest by itself: leave --writeback out");
  return {};
}

std::string authorized_keys(const RunSettings& settings) {
  std::string lines;
  for (const std::string& key : settings.ssh_keys) lines += key + "\n";
  return lines;
}

Result<Volume> parse_volume(std::string_view text) {
  std::string_view rest = text;
  const std::string_view host = split_off(rest, ':');
  const std::string_view guest = split_off(rest, ':');
  if (host.empty() || guest.empty()) {
    return fail(EINVAL, "--volume ", text,
                ": give HOST:GUEST, with :ro, :rw or :overlay, quota=SIZE, idmap=UID:GID");
  }
  Volume volume;
  const bool is_path = host.find('/') != std::string_view::npos || host == "." || host == "..";
  if (is_path) {
    LB_ASSIGN(const auto whole, normal_absolute_path(host));
    volume.host = whole.string();
  } else {
    auto named = check_volume_name(host);
    if (!named) return while_doing(named.error(), "--volume ", text);
    volume.name = host;
  }
  auto path = parse_mount_point(guest);
  if (!path) return while_doing(path.error(), "--volume ", text);
  volume.guest = *std::move(path);
  while (!rest.empty()) {
    const auto done = volume_option(split_off(rest, ','), volume);
    if (!done) return while_doing(done.error(), "--volume ", text);
  }
  if (volume.kind != VolumeKind::kOverlay && volume.quota_bytes != 0) {
    return fail(EINVAL, "--volume ", text,
                ": quota= is for overlay; a directory in place is bounded by the host's own quotas");
  }
  if (volume.kind == VolumeKind::kOverlay && !volume.id_map.empty()) {
    return fail(EINVAL, "--volume ", text,
                ": idmap= is for a directory in place; an overlay's files stay with the VM");
  }
  return volume;
}

Result<void> parse_net(std::string_view text, RunSettings& settings) {
  constexpr std::string_view kTapPrefix = "tap=";
  settings.tap.clear();
  if (text == "user") {
    settings.net = Net::kUser;
  } else if (text == "passt") {
    settings.net = Net::kPasst;
  } else if (text == "none") {
    settings.net = Net::kNone;
  } else if (text.starts_with(kTapPrefix)) {
    const std::string_view name = text.substr(kTapPrefix.size());
    const bool good =
        !name.empty() && name.size() <= kMaxInterfaceBytes && std::ranges::all_of(name, [](char c) {
          return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '-' || c == '_' || c == '.';
        });
    if (!good) return fail(EINVAL, "--net ", text, ": give the name of an existing tap interface");
    settings.net = Net::kTap;
    settings.tap = std::string(name);
  } else if (text == "host" || text.starts_with("container:")) {
    return fail(EINVAL, "--net ", text,
                ": a VM has a network of its own: user (the default) reaches what this machine reaches, and "
                "-p publishes the guest's ports");
  } else if (text == "bridge") {
    return fail(EINVAL,
                "--net bridge: user, the default, is what Docker's bridge is: leave --net out; for a "
                "bridge of this machine join a tap interface to it and give tap=INTERFACE");
  } else {
    return fail(EINVAL, "--net ", text, ": give user, passt, none or tap=INTERFACE");
  }
  return {};
}

Result<void> parse_nets(const std::vector<std::string>& texts, RunSettings& settings) {
  settings.more_nets.clear();
  if (texts.size() > kMaxNetCards) return fail(EINVAL, "--net: at most ", kMaxNetCards, " network cards");
  for (std::size_t i = 0; i < texts.size(); ++i) {
    RunSettings one;
    LB_TRY(parse_net(texts[i], i == 0 ? settings : one));
    if (texts.size() > 1 && (i == 0 ? settings.net : one.net) == Net::kNone)
      return fail(EINVAL, "--net none is no network card: give it alone");
    if (i == 0) continue;
    if (one.net == Net::kPasst)
      return fail(EINVAL, "--net passt is for the first network card: give it first, and user for another");
    const bool twice = one.net == Net::kTap && (settings.tap == one.tap ||
                                                std::ranges::find(settings.more_nets, one.tap,
                                                                  &NetCard::tap) != settings.more_nets.end());
    if (twice) return fail(EINVAL, "--net ", texts[i], ": a tap interface leads to one network card");
    settings.more_nets.push_back({.kind = one.net, .tap = one.tap});
  }
  return {};
}

Result<void> parse_restart(std::string_view text, RunSettings& settings) {
  constexpr std::string_view kOnFailure = "on-failure";
  constexpr unsigned kMaxRestarts = 1'000'000;
  settings.restart_limit = 0;
  if (text == "no") {
    settings.restart = RestartPolicy::kNo;
    return {};
  }
  if (text == "always" || text == "unless-stopped") {
    settings.restart = RestartPolicy::kAlways;
    return {};
  }
  settings.restart = RestartPolicy::kOnFailure;
  if (text == kOnFailure) return {};
  const auto most = text.starts_with(str_cat(kOnFailure, ':'))
                        ? parse_decimal(text.substr(kOnFailure.size() + 1), kMaxRestarts)
                        : std::nullopt;
  if (!most || *most == 0)
    return fail(EINVAL, "--restart ", text, ": give no, on-failure, on-failure:MOST or always");
  settings.restart_limit = static_cast<unsigned>(*most);
  return {};
}

Result<SharedSocket> parse_shared_socket(std::string_view text) {
  const auto colon = text.rfind(':');
  SharedSocket socket;
  if (colon != std::string_view::npos && colon > 0) {
    LB_ASSIGN(const auto whole, normal_absolute_path(text.substr(0, colon)));
    socket.host = whole.string();
    socket.guest = text.substr(colon + 1);
  }
  const bool port = !socket.guest.empty() && socket.guest.size() <= 5 &&
                    socket.guest.find_first_not_of("0123456789") == std::string::npos;
  if (socket.host.empty() || !(port || socket.guest.starts_with('/'))) {
    return fail(EINVAL, "'", text,
                "' is not HOST:GUEST, a path here and an absolute path or a port of the VM");
  }
  return socket;
}

store::Platform image_platform(const RunSettings& settings) {
  if (settings.platform.empty()) return store::host_platform();
  return store::parse_platform(settings.platform).value_or(store::host_platform());
}

const Architecture& architecture_of(const RunSettings& settings) {
  return **architecture_for(image_platform(settings));
}

}  // namespace layerboot::launcher
