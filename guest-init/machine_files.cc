#include "guest-init/machine_files.h"

#include <algorithm>
#include <array>

#include "guest-init/serial_console.h"

namespace guest_init {

namespace {

/// No tag, which mount(8) would look for, and no device that an init would wait for.
constexpr const char* kRootSource = "root";
constexpr std::string_view kLenient = "nofail,x-systemd.device-timeout=1s";

std::string_view take_line(std::string_view& rest) {
  const std::string_view line = rest.substr(0, rest.find('\n'));
  rest.remove_prefix(line.size() < rest.size() ? line.size() + 1 : rest.size());
  return line;
}

std::vector<std::string> words_of(std::string_view line) {
  std::vector<std::string> words;
  while (true) {
    const std::size_t begin = line.find_first_not_of(" \t");
    if (begin == std::string_view::npos) return words;
    line.remove_prefix(begin);
    const std::size_t end = line.find_first_of(" \t");
    words.emplace_back(line.substr(0, end));
    if (end == std::string_view::npos) return words;
    line.remove_prefix(end);
  }
}

bool names_device(std::string_view source) {
  constexpr std::array<std::string_view, 5> kBeginnings = {
      "UUID=", "LABEL=", "PARTUUID=", "PARTLABEL=", "/dev/"};
  for (const std::string_view beginning : kBeginnings) {
    if (source.starts_with(beginning)) return true;
  }
  return false;
}

/// Those of mount(8) that are no file system's own.
std::string any_systems_options(std::string_view options) {
  constexpr std::array<std::string_view, 19> kAny = {
      "ro",         "rw",       "dev",        "nodev",       "suid",    "nosuid",  "exec",
      "noexec",     "sync",     "async",      "dirsync",     "atime",   "noatime", "diratime",
      "nodiratime", "relatime", "norelatime", "strictatime", "lazytime"};
  std::string kept;
  while (!options.empty()) {
    const std::string_view option = options.substr(0, options.find(','));
    options.remove_prefix(option.size() < options.size() ? option.size() + 1 : options.size());
    const bool any = option.starts_with("x-") || std::find(kAny.begin(), kAny.end(), option) != kAny.end();
    if (any) kept += (kept.empty() ? "" : ",") + std::string(option);
  }
  return kept.empty() ? "defaults" : kept;
}

}  // namespace

std::string lenient_fstab(std::string_view text, const std::function<bool(const std::string&)>& known,
                          std::vector<std::string>& changed) {
  std::string result;
  while (!text.empty()) {
    const std::string_view line = take_line(text);
    auto words = words_of(line);
    const bool entry = words.size() >= 3 && !words[0].starts_with('#');
    const bool foreign = entry && names_device(words[0]) && !known(words[0]);
    if (!foreign) {
      result += std::string(line) + "\n";
      continue;
    }
    changed.push_back(words[0]);
    if (words.size() < 4) words.emplace_back("defaults");
    if (words[1] == "/") {
      words[0] = kRootSource;
      words[3] = any_systems_options(words[3]);
      if (words.size() > 5) words[5] = "0";
    } else {
      words[3] += "," + std::string(kLenient);
    }
    for (std::size_t i = 0; i < words.size(); ++i) result += (i == 0 ? "" : " ") + words[i];
    result += "\n";
  }
  return result;
}

std::string with_serial_getty(std::string_view inittab, bool busybox, std::string_view program,
                              bool autologin) {
  for (std::string_view rest = inittab; !rest.empty();) {
    const std::string_view line = take_line(rest);
    const bool active = !line.empty() && !line.starts_with('#');
    if (active && line.find("respawn") != std::string_view::npos &&
        (line.find(kSerialConsole) != std::string_view::npos ||
         line.find("console") != std::string_view::npos)) {
      return std::string(inittab);
    }
  }
  std::string result(inittab);
  if (!result.empty() && !result.ends_with('\n')) result += '\n';
  const bool agetty = program.ends_with("agetty");
  std::string command = std::string(program);
  if (autologin && agetty) command += " --autologin root";
  const std::string console(kSerialConsole);
  command += (agetty ? " --keep-baud 115200,38400,9600 " : " -L 115200 ") + console + " vt220";
  // busybox's getty has no such option: login is told who it is.
  if (autologin && !agetty) command = "/bin/login -f root";
  return result + (busybox ? console + "::respawn:" : "LB:2345:respawn:") + command + "\n";
}

std::string with_root_password(std::string_view text, std::string_view hash) {
  std::string result;
  bool found = false;
  while (!text.empty()) {
    const std::string_view line = take_line(text);
    constexpr std::string_view kRoot = "root:";
    const std::size_t end = line.starts_with(kRoot) ? line.find(':', kRoot.size()) : std::string_view::npos;
    if (end == std::string_view::npos) {
      result += std::string(line) + "\n";
      continue;
    }
    found = true;
    result += std::string(kRoot) + std::string(hash) + std::string(line.substr(end)) + "\n";
  }
  return found ? result : "";
}

}  // namespace guest_init
