#include "guest-init/network_cards.h"

#include <dirent.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstring>

#include "guest-init/fd.h"

namespace guest_init {

namespace {

bool has(const std::vector<std::string>& names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

void put_name(char (&place)[IFNAMSIZ], const std::string& name) {
  std::memcpy(place, name.data(), std::min(name.size(), sizeof(place) - 1));
}

}  // namespace

std::vector<std::string> network_cards() {
  std::vector<std::string> names;
  DIR* stream = opendir("/sys/class/net");
  if (!stream) return names;
  while (const dirent* entry = readdir(stream)) {
    const std::string name = entry->d_name;
    if (name[0] != '.' && name != "lo") names.push_back(name);
  }
  closedir(stream);
  std::sort(names.begin(), names.end());
  return names;
}

std::vector<std::pair<std::string, std::string>> name_cards(const std::vector<std::string>& present,
                                                            const std::vector<std::string>& wanted) {
  std::vector<std::pair<std::string, std::string>> names;
  auto next = present.begin();
  for (const std::string& name : wanted) {
    if (has(present, name)) {
      names.emplace_back(name, name);
      continue;
    }
    next = std::find_if(next, present.end(), [&wanted](const std::string& one) { return !has(wanted, one); });
    if (next != present.end()) names.emplace_back(*next++, name);
  }
  return names;
}

std::vector<std::string> bare_cards(const BootOptions& options, const std::vector<std::string>& present,
                                    const std::vector<std::string>& wanted) {
  const auto names = name_cards(present, wanted);
  std::vector<std::string> bare;
  for (std::size_t card = 0; card < present.size(); ++card) {
    const bool renamed = std::ranges::any_of(
        names, [&](const auto& name) { return name.first == present[card] && name.second != name.first; });
    if (net_of_card(options, card) == NetChoice::kUp && !renamed) bare.push_back(present[card]);
  }
  return bare;
}

bool rename_card(const std::string& now, const std::string& then) {
  const Fd fd(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  ifreq request{};
  put_name(request.ifr_name, now);
  put_name(request.ifr_newname, then);
  return fd && ioctl(fd.get(), SIOCSIFNAME, &request) == 0;
}

}  // namespace guest_init
