#include "guest-init/network.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <net/if.h>
#include <net/route.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "guest-init/console.h"
#include "guest-init/fd.h"
#include "guest-init/files.h"
#include "guest-init/network_cards.h"

namespace guest_init {

namespace {

constexpr const char* kBusybox = "/bin/busybox";
constexpr const char* kResolverPlace = "/etc/resolv.conf";
constexpr std::size_t kMaxServers = 3;  // as many as resolv.conf(5) heeds

ifreq request_for(const std::string& device) {
  ifreq request{};
  std::memcpy(request.ifr_name, device.data(), std::min(device.size(), sizeof(request.ifr_name) - 1));
  return request;
}

bool set_up(int fd, const std::string& device) {
  ifreq request = request_for(device);
  if (ioctl(fd, SIOCGIFFLAGS, &request) != 0) return false;
  request.ifr_flags = static_cast<short>(request.ifr_flags | IFF_UP | IFF_RUNNING);
  return ioctl(fd, SIOCSIFFLAGS, &request) == 0;
}

sockaddr make_address(const std::string& text) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  inet_pton(AF_INET, text.c_str(), &address.sin_addr);
  sockaddr generic;
  std::memcpy(&generic, &address, sizeof(generic));
  return generic;
}

bool set_address(int fd, const std::string& device, const std::string& address, const std::string& mask) {
  ifreq request = request_for(device);
  request.ifr_addr = make_address(address);
  if (ioctl(fd, SIOCSIFADDR, &request) != 0) return false;
  request.ifr_addr = make_address(mask);
  return ioctl(fd, SIOCSIFNETMASK, &request) == 0 && set_up(fd, device);
}

bool set_gateway(int fd, const std::string& gateway) {
  rtentry route{};
  route.rt_dst = make_address("0.0.0.0");
  route.rt_genmask = make_address("0.0.0.0");
  route.rt_gateway = make_address(gateway);
  route.rt_flags = RTF_UP | RTF_GATEWAY;
  return ioctl(fd, SIOCADDRT, &route) == 0 || errno == EEXIST;
}

/// `card`: how many are before it.
void use_static(int fd, const std::string& device, std::size_t card) {
  // QEMU's user network, as its documentation has it, and those of the further cards; the VM layer brings the
  // resolver.
  const std::string network = "10.0." + std::to_string(2 + card);
  const bool first = card == 0;
  if (!set_address(fd, device, network + ".15", "255.255.255.0") ||
      (first && !set_gateway(fd, network + ".2")))
    say("cannot bring up the network on " + device + because());
}

void use_dhcp(int fd, const std::string& device) {
  if (access(kBusybox, X_OK) != 0) {
    say("no network: DHCP needs busybox in the initrd (install busybox-static on the host)");
    return;
  }
  set_up(fd, device);
  const pid_t child = fork();
  if (child == 0) {
    // /init is this program; it is called back with each event.
    execl(kBusybox, "udhcpc", "-i", device.c_str(), "-n", "-q", "-f", "-t", "5", "-T", "2", "-s", "/init",
          static_cast<char*>(nullptr));
    _exit(127);
  }
  int status = 0;
  if (child < 0 || waitpid(child, &status, 0) != child || !WIFEXITED(status) || WEXITSTATUS(status) != 0)
    say("no network: no DHCP server answers on " + device);
}

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}

/// The first word; the rest stays in `text`.
std::string take_word(std::string& text) {
  text.erase(0, text.find_first_not_of(' '));
  const std::size_t end = text.find(' ');
  std::string word = text.substr(0, end);
  text.erase(0, end);
  return word;
}

/// Something to mount the resolver on, where the image has no such file, or a link (to systemd-resolved's, as
/// a rule) that leads nowhere.
void make_resolver_place() {
  char target[PATH_MAX];
  const ssize_t length = readlink(kResolverPlace, target, sizeof(target));
  if (length > 0) {
    std::string path(target, static_cast<std::size_t>(length));
    if (path.front() != '/') path = "/etc/" + path;
    make_directories(path.substr(0, path.rfind('/')));
  }
  const Fd made(open(kResolverPlace, O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
}

}  // namespace

void bring_up_network(const BootOptions& options) {
  const Fd fd(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!fd) return;  // a kernel without networking
  set_up(fd.get(), "lo");
  if (options.net == NetChoice::kLeave) return;
  const auto all = network_cards();
  if (all.empty() && options.net != NetChoice::kUp)
    return say("no network: the machine has no network device that this kernel drives");
  for (std::size_t card = 0; card < all.size(); ++card) {
    const NetChoice how = net_of_card(options, card);
    if (how == NetChoice::kStatic) use_static(fd.get(), all[card], card);
    if (how == NetChoice::kDhcp) use_dhcp(fd.get(), all[card]);
    if (how == NetChoice::kUp) set_up(fd.get(), all[card]);
  }
}

void bring_up_bare_cards(const BootOptions& options, const std::vector<std::string>& wanted) {
  const Fd fd(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!fd) return;
  for (const std::string& device : bare_cards(options, network_cards(), wanted)) {
    if (!set_up(fd.get(), device)) say("cannot bring up " + device + because());
  }
}

void use_resolver() {
  if (access(kResolverFile, F_OK) != 0) return;
  struct stat st{};
  if (stat(kResolverPlace, &st) != 0) make_resolver_place();
  if (mount(kResolverFile, kResolverPlace, nullptr, MS_BIND, nullptr) == 0) return;
  note(std::string("the resolver that DHCP gave is in ") + kResolverFile + " only" + because());
}

int handle_lease(const std::string& event) {
  if (event != "bound" && event != "renew") return 0;
  const Fd fd(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  const std::string device = variable("interface");
  const std::string mask = variable("subnet");
  if (!fd || !set_address(fd.get(), device, variable("ip"), mask.empty() ? "255.255.255.0" : mask)) return 1;
  std::string routers = variable("router");
  if (const std::string gateway = take_word(routers); !gateway.empty()) set_gateway(fd.get(), gateway);
  std::string resolver;
  if (const std::string domain = variable("domain"); !domain.empty()) resolver = "search " + domain + "\n";
  std::string servers = variable("dns");
  for (std::size_t i = 0; i < kMaxServers && !servers.empty(); ++i) {
    if (const std::string server = take_word(servers); !server.empty())
      resolver += "nameserver " + server + "\n";
  }
  if (resolver.empty()) return 0;
  make_directories("/run/layerboot");
  return write_text(kResolverFile, resolver) ? 0 : 1;
}

}  // namespace guest_init
