#include "launcher/vm/run_settings.h"

#include <arpa/inet.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <filesystem>

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

/// Splits off what stands before the first `separator`; all of `rest` when there is none.
std::string_view split_off(std::string_view& rest, char separator) {
  const auto end = rest.find(separator);
  const std::string_view part = rest.substr(0, end);
  rest = end == std::string_view::npos ? std::string_view() : rest.substr(end + 1);
  return part;
}

Result<std::string> guest_path(std::string_view text) {
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
      return fail(EINVAL, "the guest's system has its own ", own, ", which would hide the volume");
    }
  }
  return path;
}

Result<std::uint16_t> parse_port(std::string_view text) {
  const auto port = parse_decimal(text, UINT16_MAX);
  if (!port || *port == 0) return fail(EINVAL, "'", text, "' is no port: 1 to 65535");
  return static_cast<std::uint16_t>(*port);
}

Result<void> volume_option(std::string_view option, Volume& volume) {
  constexpr std::string_view kQuota = "quota=";
  constexpr std::string_view kIdMap = "idmap=";
  if (option == "ro") {
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
  std::error_code error;
  volume.host = std::filesystem::absolute(std::filesystem::path(host), error).lexically_normal().string();
  auto path = guest_path(guest);
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

Result<PublishedPort> parse_published(std::string_view text) {
  PublishedPort port;
  std::string_view rest = text;
  if (const auto slash = rest.rfind('/'); slash != std::string_view::npos) {
    const std::string_view protocol = rest.substr(slash + 1);
    if (protocol != "tcp" && protocol != "udp") {
      return fail(EINVAL, "--publish ", text, ": '", protocol, "' is neither tcp nor udp");
    }
    port.udp = protocol == "udp";
    rest = rest.substr(0, slash);
  }
  const auto last = rest.rfind(':');
  if (last == std::string_view::npos) {
    return fail(EINVAL, "--publish ", text, ": give [ADDRESS:]HOST:GUEST[/udp]");
  }
  auto guest = parse_port(rest.substr(last + 1));
  if (!guest) return while_doing(guest.error(), "--publish ", text);
  port.guest = *guest;
  rest = rest.substr(0, last);
  if (const auto colon = rest.rfind(':'); colon != std::string_view::npos) {
    port.address = std::string(rest.substr(0, colon));
    rest = rest.substr(colon + 1);
    in_addr parsed{};
    if (::inet_pton(AF_INET, port.address.c_str(), &parsed) != 1) {
      return fail(EINVAL, "--publish ", text, ": '", port.address, "' is no IPv4 address of this host");
    }
  }
  auto host = parse_port(rest);
  if (!host) return while_doing(host.error(), "--publish ", text);
  port.host = *host;
  return port;
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
  } else {
    return fail(EINVAL, "--net ", text, ": give user, passt, none or tap=INTERFACE");
  }
  return {};
}

Result<SharedSocket> parse_shared_socket(std::string_view text) {
  const auto colon = text.rfind(':');
  SharedSocket socket;
  if (colon != std::string_view::npos && colon > 0) {
    std::error_code ignored;
    socket.host = std::filesystem::absolute(text.substr(0, colon), ignored).lexically_normal().string();
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

}  // namespace layerboot::launcher
