// --publish, as Docker writes it.
#include <arpa/inet.h>

#include <algorithm>

#include "launcher/vm/run_settings.h"
#include "oci-mount/base/decimal.h"
#include "oci-mount/base/log.h"
#include "oci-mount/base/printable.h"

namespace layerboot::launcher {

namespace {

struct PortRange {
  std::uint16_t first = 0;
  std::uint16_t last = 0;

  [[nodiscard]] unsigned size() const { return last - first + 1U; }
};

Result<std::uint16_t> parse_port(std::string_view text) {
  const auto port = parse_decimal(text, UINT16_MAX);
  if (!port || *port == 0) return fail(EINVAL, "'", text, "' is no port: 1 to 65535");
  return static_cast<std::uint16_t>(*port);
}

Result<PortRange> parse_range(std::string_view text) {
  const auto dash = text.find('-');
  PortRange range;
  LB_ASSIGN(range.first, parse_port(text.substr(0, dash)));
  range.last = range.first;
  if (dash != std::string_view::npos) {
    LB_ASSIGN(range.last, parse_port(text.substr(dash + 1)));
  }
  if (range.last < range.first) return fail(EINVAL, "'", text, "' is no range: its end is before its begin");
  return range;
}

/// Splits off "/udp" and "/tcp".
Result<bool> take_protocol(std::string_view& text) {
  const auto slash = text.rfind('/');
  if (slash == std::string_view::npos) return false;
  const std::string_view protocol = text.substr(slash + 1);
  if (protocol != "tcp" && protocol != "udp") {
    return fail(EINVAL, "'", protocol, "' is neither tcp nor udp");
  }
  text = text.substr(0, slash);
  return protocol == "udp";
}

Result<std::vector<PublishedPort>> ports_of(std::string_view text) {
  PublishedPort port;
  LB_ASSIGN(port.udp, take_protocol(text));
  const auto last = text.rfind(':');
  LB_ASSIGN(const PortRange guest, parse_range(text.substr(last == std::string_view::npos ? 0 : last + 1)));
  std::string_view rest = last == std::string_view::npos ? std::string_view() : text.substr(0, last);
  if (last == 0) return fail(EINVAL, "give [[ADDRESS:]HOST:]GUEST[/udp]");
  if (const auto colon = rest.rfind(':'); colon != std::string_view::npos) {
    port.address = std::string(rest.substr(0, colon));
    rest = rest.substr(colon + 1);
  } else if (rest.find('.') != std::string_view::npos) {
    // As Docker has it: an address without a port needs two colons.
    return fail(EINVAL, "'", rest, "' is no port: an address of this host is followed by ':HOST:' or '::'");
  }
  in_addr parsed{};
  if (::inet_pton(AF_INET, port.address.c_str(), &parsed) != 1) {
    return fail(EINVAL, "'", port.address, "' is no IPv4 address of this host");
  }
  PortRange host;
  port.random = rest.empty();
  if (!port.random) {
    LB_ASSIGN(host, parse_range(rest));
    if (host.size() != guest.size()) return fail(EINVAL, "both ranges must be of the same length");
  }
  if (guest.size() > kMaxPublished) return fail(EINVAL, "at most ", kMaxPublished, " ports can be published");
  std::vector<PublishedPort> ports;
  for (unsigned i = 0; i < guest.size(); ++i) {
    port.host = port.random ? std::uint16_t{0} : static_cast<std::uint16_t>(host.first + i);
    port.guest = static_cast<std::uint16_t>(guest.first + i);
    ports.push_back(port);
  }
  return ports;
}

}  // namespace

Result<std::vector<PublishedPort>> parse_published(std::string_view text) {
  auto ports = ports_of(text);
  if (!ports) return while_doing(ports.error(), "--publish ", text);
  return ports;
}

namespace {

/// Those of `texts` that can be forwarded; the others are named.
std::vector<PublishedPort> exposed_ports(const std::vector<std::string>& texts) {
  std::vector<PublishedPort> exposed;
  for (const std::string& text : texts) {
    auto ports = ports_of(text);
    if (ports) {
      exposed.insert(exposed.end(), ports->begin(), ports->end());
    } else {
      log_warn("the image exposes ", printable(text), ", which is not forwarded: ", ports.error().describe());
    }
  }
  return exposed;
}

bool is_published(const RunSettings& settings, const PublishedPort& port) {
  return std::ranges::any_of(settings.published, [&](const PublishedPort& one) {
    return one.guest == port.guest && one.udp == port.udp;
  });
}

}  // namespace

bool ports_collide(const PublishedPort& one, const PublishedPort& other) {
  return one.host == other.host && one.udp == other.udp &&
         (one.address == other.address || one.address == kAllAddresses || other.address == kAllAddresses);
}

Result<void> check_ports_differ(const std::vector<PublishedPort>& ports) {
  for (auto one = ports.begin(); one != ports.end(); ++one) {
    const auto same = std::find_if(ports.begin(), one, [&one](const PublishedPort& other) {
      return one->host != 0 && ports_collide(other, *one);
    });
    if (same == one) continue;
    return fail(EINVAL, "--publish: ", one->address, ':', one->host, " is to lead to port ", same->guest,
                " of the guest and to ", one->guest, ": take another port of this host for one of them");
  }
  return {};
}

std::string port_text(const PublishedPort& port) { return str_cat(port.guest, port.udp ? "/udp" : "/tcp"); }

Result<void> publish_exposed(const std::vector<std::string>& exposed, RunSettings& settings) {
  for (PublishedPort& port : exposed_ports(exposed)) {
    if (!is_published(settings, port)) settings.published.push_back(std::move(port));
  }
  if (settings.published.size() <= kMaxPublished) return {};
  return fail(E2BIG, "the image exposes more than the ", kMaxPublished,
              " ports that can be published: leave --publish-all out, and give those you need by -p");
}

void publish_exposed_in_place(const std::vector<std::string>& exposed, RunSettings& settings) {
  std::size_t left_out = 0;
  for (PublishedPort& port : exposed_ports(exposed)) {
    if (is_published(settings, port)) continue;
    const auto same = std::ranges::find_if(settings.published, [&](const PublishedPort& one) {
      return !one.random && one.host == port.guest && one.udp == port.udp;
    });
    if (same != settings.published.end()) {
      log_warn("the image exposes ", port_text(port), ", which is not forwarded: -p leads that port to ",
               port_text(*same));
    } else if (settings.published.size() == kMaxPublished) {
      ++left_out;
    } else {
      port.host = port.guest;
      port.random = false;
      settings.published.push_back(std::move(port));
    }
  }
  if (left_out != 0)
    log_warn(left_out, " of the ports that the image exposes are not forwarded: there is room for ",
             kMaxPublished, ", of which those given by -p come first");
}

}  // namespace layerboot::launcher
