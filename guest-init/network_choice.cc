#include "guest-init/network_choice.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/mount.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdint>

#include "guest-init/console.h"
#include "guest-init/fd.h"
#include "guest-init/files.h"
#include "guest-init/network_cards.h"

namespace guest_init {

namespace {

constexpr const char* kInterfaces = "etc/network/interfaces";
constexpr const char* kInterfacesFolder = "etc/network/interfaces.d";
constexpr std::size_t kMaxFiles = 64;
constexpr const char* kRuntimeUnits = "/run/systemd/system";
constexpr const char* kRuntimeLinks = "/run/systemd/network";
constexpr const char* kManagerSettings = "/run/NetworkManager/conf.d";
constexpr std::array<const char*, 2> kUnitFolders = {"etc/systemd/system/", "usr/lib/systemd/system/"};
constexpr std::array<const char*, 4> kWants = {"multi-user.target.wants/", "network-online.target.wants/",
                                               "network.target.wants/", "sysinit.target.wants/"};

/// Links are not followed: they lead somewhere in the image, and this process may have another root.
bool is_there(int root, const std::string& path) {
  return faccessat(root, path.c_str(), F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

bool is_enabled(int root, const std::string& unit) {
  for (const char* folder : kUnitFolders) {
    for (const char* wants : kWants) {
      if (is_there(root, std::string(folder) + wants + unit)) return true;
    }
  }
  return false;
}

std::vector<std::string> names_in(int root, const char* folder) {
  std::vector<std::string> names;
  const int directory = openat(root, folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  DIR* stream = directory < 0 ? nullptr : fdopendir(directory);
  if (!stream) return names;
  while (const dirent* entry = readdir(stream)) {
    if (entry->d_name[0] != '.' && names.size() < kMaxFiles) names.emplace_back(entry->d_name);
  }
  closedir(stream);
  std::sort(names.begin(), names.end());
  return names;
}

/// sysvinit's and OpenRC's script, where one of its runlevels has it.
bool has_networking_script(int root) {
  for (const std::string& name : names_in(root, "etc/rcS.d")) {
    if (name.size() > 3 && name[0] == 'S' && name.substr(3) == "networking") return true;
  }
  return is_there(root, "etc/runlevels/boot/networking") ||
         is_there(root, "etc/runlevels/default/networking");
}

std::string_view take_word(std::string_view& line) {
  line.remove_prefix(std::min(line.find_first_not_of(" \t"), line.size()));
  const std::string_view word = line.substr(0, line.find_first_of(" \t"));
  line.remove_prefix(word.size());
  return word;
}

bool names_card(std::string_view name) {
  return name.size() > 1 && name.size() < 16 && name.front() == 'e' &&
         name.find_first_of(".:/*") == std::string_view::npos;
}

bool has(const std::vector<std::string>& names, std::string_view name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

std::vector<std::string> cards_of_ifupdown(int root) {
  std::string text = read_text_at(root, kInterfaces);
  for (const std::string& name : names_in(root, kInterfacesFolder))
    text += "\n" + read_text_at(root, std::string(kInterfacesFolder) + "/" + name);
  return cards_of_interfaces(text);
}

bool keep_networkd_away() {
  const Fd root(open("/", O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (is_enabled(root.get(), "systemd-networkd.service")) return true;
  make_directories(kRuntimeUnits);
  bool done = true;
  // Its sockets start it as well.
  for (const char* unit : {"systemd-networkd.service", "systemd-networkd.socket"})
    done = symlink("/dev/null", (std::string(kRuntimeUnits) + "/" + unit).c_str()) == 0 && done;
  return done;
}

/// udev gives it the name.
bool link_card(const std::string& now, const std::string& then) {
  make_directories(kRuntimeLinks);
  return write_text(std::string(kRuntimeLinks) + "/10-layerboot-" + now + ".link",
                    "[Match]\nOriginalName=" + now + "\n\n[Link]\nName=" + then + "\n");
}

}  // namespace

std::vector<std::string> cards_of_interfaces(std::string_view text) {
  std::vector<std::string> at_boot;
  std::vector<std::string> described;
  while (!text.empty()) {
    std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(line.size() + 1, text.size()));
    const std::string_view keyword = take_word(line);
    if (keyword == "auto" || keyword == "allow-auto" || keyword == "allow-hotplug") {
      for (auto name = take_word(line); !name.empty(); name = take_word(line)) {
        if (names_card(name) && !has(at_boot, name)) at_boot.emplace_back(name);
      }
    }
    if (keyword != "iface") continue;
    if (const auto name = take_word(line); names_card(name)) described.emplace_back(name);
  }
  std::erase_if(at_boot, [&described](const std::string& name) { return !has(described, name); });
  return at_boot;
}

NetworkChoice choose_network(int root, bool systemd, bool udev) {
  const bool managed = systemd && udev;
  if (managed && is_enabled(root, "NetworkManager.service") && is_there(root, "usr/sbin/NetworkManager"))
    return {NetworkOwner::kNetworkManager, {}};
  const bool ifupdown = systemd ? is_enabled(root, "networking.service") : has_networking_script(root);
  if (ifupdown) {
    if (auto cards = cards_of_ifupdown(root); !cards.empty())
      return {NetworkOwner::kIfupdown, std::move(cards)};
  }
  const bool networkd =
      is_there(root, "usr/lib/systemd/systemd-networkd") || is_there(root, "lib/systemd/systemd-networkd");
  return {managed && networkd ? NetworkOwner::kNetworkd : NetworkOwner::kUs, {}};
}

std::string no_auto_default(const std::vector<std::string>& macs) {
  std::string text = "[main]\nno-auto-default=*";
  for (const std::string& mac : macs) text += ",except:mac:" + mac;
  return text + "\n";
}

void keep_cards_bare(const BootOptions& options, const NetworkChoice& choice) {
  // As all further ones are.
  const bool bare = net_of_card(options, SIZE_MAX) == NetChoice::kUp;
  if (choice.owner != NetworkOwner::kNetworkManager || !bare) return;
  std::vector<std::string> macs;
  const auto cards = network_cards();
  for (std::size_t card = 0; card < cards.size(); ++card) {
    if (net_of_card(options, card) == NetChoice::kUp) continue;
    std::string mac = read_text("/sys/class/net/" + cards[card] + "/address");
    macs.push_back(mac.substr(0, mac.find('\n')));
  }
  make_directories(kManagerSettings);
  if (!write_text(std::string(kManagerSettings) + "/layerboot.conf", no_auto_default(macs)))
    say("cannot keep NetworkManager from configuring all cards" + because());
}

void leave_cards_to(const NetworkChoice& choice, bool systemd, bool udev) {
  if (choice.owner != NetworkOwner::kNetworkManager && choice.owner != NetworkOwner::kIfupdown) return;
  // The folder alone would tell other inits' scripts that systemd runs.
  bool done = !systemd || keep_networkd_away();
  for (const auto& [now, then] : name_cards(network_cards(), choice.card_names)) {
    if (systemd && udev) {
      done = link_card(now, then) && done;
    } else if (now != then) {
      done = rename_card(now, then) && done;
    }
  }
  if (!done) say("cannot leave the network to the image's own program" + because());
}

}  // namespace guest_init
