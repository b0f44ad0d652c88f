// --tmpfs, --mount and --add-host, as Docker writes them.
#include <arpa/inet.h>

#include <algorithm>
#include <array>
#include <filesystem>

#include "launcher/vm/named_volumes.h"
#include "launcher/vm/run_settings.h"
#include "launcher/vm/split_off.h"
#include "oci-mount/base/absolute_path.h"
#include "oci-mount/base/size.h"
#include "oci-mount/base/str_cat.h"

namespace layerboot::launcher {

namespace {

/// What guest-init mounts in every guest: another one would hide what systemd finds there.
constexpr std::array<std::string_view, 2> kAlwaysTmpfs = {"/run", "/var/run"};
/// How QEMU's user network, and passt as we start it, name this machine to the guest.
constexpr std::string_view kHostGateway = "10.0.2.2";

/// As Go's ParseBool, which is what Docker takes; the word alone is a yes.
Result<bool> parse_yes_or_no(std::string_view key, std::string_view value) {
  constexpr std::array<std::string_view, 7> kYes = {"", "1", "t", "T", "TRUE", "true", "True"};
  constexpr std::array<std::string_view, 6> kNo = {"0", "f", "F", "FALSE", "false", "False"};
  if (std::ranges::find(kYes, value) != kYes.end()) return true;
  if (std::ranges::find(kNo, value) != kNo.end()) return false;
  return fail(EINVAL, key, "=", value, " is none of true, t, 1, false, f and 0");
}

/// They go into mount(2), and as words into a file of ours.
Result<void> check_tmpfs_options(std::string_view options) {
  const bool good = std::ranges::all_of(options, [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) != 0 || std::string_view("=,.%_-").find(c) < 6;
  });
  if (good) return {};
  return fail(EINVAL, "'", options, "' are no options of a tmpfs, such as size=64m,mode=1777");
}

/// What `--mount` is made of, word by word.
struct MountWords {
  std::string_view type = "volume";
  std::string source;
  std::string_view target;
  std::string_view size;
  std::string_view mode;
  bool read_only = false;
};

Result<MountWords> take_words(std::string_view text) {
  MountWords words;
  for (std::string_view rest = text; !rest.empty();) {
    std::string_view value = split_off(rest, ',');
    const std::string_view key = split_off(value, '=');
    if (key == "type") {
      words.type = value;
    } else if (key == "source" || key == "src") {
      words.source = value;
    } else if (key == "target" || key == "dst" || key == "destination") {
      words.target = value;
    } else if (key == "readonly" || key == "ro") {
      LB_ASSIGN(words.read_only, parse_yes_or_no(key, value));
    } else if (key == "tmpfs-size") {
      words.size = value;
    } else if (key == "tmpfs-mode") {
      words.mode = value;
    } else if (key != "bind-propagation" && key != "consistency") {
      // Those two say how a mount of the host's kernel behaves, which this is none of.
      return fail(EINVAL, "unknown word '", key,
                  "': type, source, target, readonly, and for a tmpfs tmpfs-size and tmpfs-mode");
    }
  }
  if (words.target.empty()) return fail(EINVAL, "target= is missing");
  return words;
}

Result<void> add_mount(const MountWords& words, RunSettings& settings) {
  if (words.type == "tmpfs") {
    std::string options = words.read_only ? "ro" : "rw";
    if (!words.size.empty()) options += str_cat(",size=", words.size);
    if (!words.mode.empty()) options += str_cat(",mode=", words.mode);
    LB_ASSIGN(auto tmpfs, parse_tmpfs(str_cat(words.target, ":", options)));
    if (tmpfs) settings.tmpfs.push_back(*std::move(tmpfs));
    return {};
  }
  if (words.type != "bind" && words.type != "volume") {
    return fail(EINVAL, "type=", words.type, " is none of bind, volume and tmpfs");
  }
  if (words.source.empty()) return fail(EINVAL, "source= is missing: a path here, or a volume's name");
  Volume volume;
  volume.kind = words.read_only ? VolumeKind::kReadOnly : VolumeKind::kShared;
  LB_ASSIGN(volume.guest, parse_mount_point(words.target));
  if (words.type == "volume") {
    LB_TRY(check_volume_name(words.source));
    volume.name = words.source;
  } else {
    LB_ASSIGN(const auto whole, normal_absolute_path(words.source));
    volume.host = whole.string();
  }
  settings.volumes.push_back(std::move(volume));
  return {};
}

}  // namespace

bool is_address(std::string_view text) {
  const std::string copy(text);
  std::array<unsigned char, sizeof(in6_addr)> address{};
  return ::inet_pton(AF_INET, copy.c_str(), address.data()) == 1 ||
         ::inet_pton(AF_INET6, copy.c_str(), address.data()) == 1;
}

Result<std::optional<TmpfsMount>> parse_tmpfs(std::string_view text) {
  std::string_view rest = text;
  const std::string_view path = split_off(rest, ':');
  auto checked = check_tmpfs_options(rest);
  if (!checked) return while_doing(checked.error(), "--tmpfs ", text);
  auto guest = parse_mount_point(path);
  if (!guest) return while_doing(guest.error(), "--tmpfs ", text);
  if (std::ranges::find(kAlwaysTmpfs, *guest) != kAlwaysTmpfs.end()) return std::nullopt;
  return TmpfsMount{.guest = *std::move(guest), .options = std::string(rest)};
}

Result<void> parse_mount(std::string_view text, RunSettings& settings) {
  const auto words = take_words(text);
  if (!words) return while_doing(words.error(), "--mount ", text);
  const auto added = add_mount(*words, settings);
  if (!added) return while_doing(added.error(), "--mount ", text);
  return {};
}

Result<HostEntry> parse_host_entry(std::string_view text) {
  // An IPv6 address has colons of its own: the first one, or an '=', ends the name.
  const auto end = text.find_first_of(":=");
  HostEntry entry;
  if (end != std::string_view::npos) {
    entry.name = text.substr(0, end);
    entry.address = text.substr(end + 1);
  }
  if (entry.address == "host-gateway") entry.address = kHostGateway;
  if (entry.address.starts_with('[') && entry.address.ends_with(']'))
    entry.address = entry.address.substr(1, entry.address.size() - 2);
  const bool good = !entry.name.empty() && std::ranges::all_of(entry.name, [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '-' || c == '.' || c == '_';
  });
  if (good && is_address(entry.address)) return entry;
  return fail(EINVAL, "--add-host ", text, ": give NAME:ADDRESS, such as db:10.0.2.2");
}

}  // namespace layerboot::launcher
