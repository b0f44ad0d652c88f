#include "launcher/supervise/passt_args.h"

#include "launcher/host/child.h"
#include "oci-mount/base/str_cat.h"

namespace layerboot::launcher {

std::vector<std::string> passt_args(const RunSettings& settings, const std::filesystem::path& passt) {
  std::vector<std::string> args = {passt.string(), "--foreground", "--quiet", "--fd",
                                   str_cat(kFirstInheritedFd)};
  args.insert(args.end(), {"--address", "10.0.2.15", "--netmask", "24", "--gateway", "10.0.2.2", "--dns",
                           "10.0.2.3", "--dns-forward", "10.0.2.3"});
  for (const bool udp : {false, true}) {
    const char* option = udp ? "--udp-ports" : "--tcp-ports";
    bool any = false;
    for (const PublishedPort& port : settings.published) {
      if (port.udp != udp) continue;
      any = true;
      args.insert(args.end(), {option, str_cat(port.address, '/', port.host, ':', port.guest)});
    }
    // Its own default is none of these two for tcp, but all ports of the host for others.
    if (!any) args.insert(args.end(), {option, "none"});
  }
  return args;
}

}  // namespace layerboot::launcher
