#include "launcher/images/skopeo.h"

#include <array>

#include "launcher/host/run_tool.h"

namespace layerboot::launcher {

namespace {

/// What skopeo puts before the reason, and its caller has said already: `initializing source docker://x: `,
/// and `Error parsing image name "docker://x": `, which is rarely about the name.
std::string without_dressing(std::string message) {
  for (const auto& [begin, end] :
       {std::pair<std::string_view, std::string_view>{"Error parsing image name \"", "\": "},
        {"initializing source ", ": "}}) {
    if (!message.starts_with(begin)) continue;
    const auto at = message.find(end, begin.size());
    if (at != std::string::npos) message.erase(0, at + end.size());
  }
  return message;
}

}  // namespace

std::string skopeo_message(std::string_view log) {
  constexpr std::string_view kKey = "msg=";
  const auto at = log.rfind(kKey);
  if (at == std::string_view::npos) return std::string(log);
  const std::string_view value = log.substr(at + kKey.size());
  if (!value.starts_with('"')) return std::string(value.substr(0, value.find_first_of(" \n")));
  std::string message;
  for (std::size_t i = 1; i < value.size() && value[i] != '"'; ++i) {
    if (value[i] == '\\' && i + 1 < value.size()) ++i;
    message += value[i];
  }
  return without_dressing(std::move(message));
}

std::string skopeo_remedy(std::string_view message) {
  struct Remedy {
    std::string_view said;
    std::string_view remedy;
  };
  constexpr std::string_view kOffline =
      "; is the network there? Without one, images come out of files: oci:DIR, docker-archive:FILE";
  constexpr std::array kRemedies = {
      Remedy{"gave HTTP response to HTTPS client", "; --tls-verify=false takes plain http"},
      Remedy{"x509:", "; --tls-verify=false takes a certificate that nobody signed"},
      Remedy{"unauthorized", "; the name may be wrong, or need credentials: skopeo login"},
      Remedy{"authentication required", "; the name may be wrong, or need credentials: skopeo login"},
      Remedy{"denied", "; the name may be wrong, or need credentials: skopeo login"},
      Remedy{"toomanyrequests", "; skopeo login raises the registry's limit"},
      Remedy{"connection refused", "; nothing answers there: is the registry running, and the port right?"},
      Remedy{"no such host", kOffline},
      Remedy{"network is unreachable", kOffline},
      Remedy{"i/o timeout", kOffline},
  };
  for (const auto& [said, remedy] : kRemedies) {
    if (message.find(said) != std::string_view::npos) return std::string(remedy);
  }
  return {};
}

Result<std::string> run_skopeo(const SkopeoCall& call) {
  ToolSpec tool;
  tool.argv = {"skopeo"};
  tool.argv.insert(tool.argv.end(), call.words.begin(), call.words.end());
  tool.working_directory = call.working_directory;
  tool.on_tick = call.on_tick;
  tool.on_start = call.on_start;
  auto said = run_tool(tool);
  if (said) return said;
  if (said.error().code == ENOENT)
    return fail(ENOENT, "skopeo, which carries images, is not installed: apt-get install skopeo");
  if (said.error().text.find("level=fatal") == std::string::npos) return said;
  const std::string message = skopeo_message(said.error().text);
  return fail(said.error().code, message, skopeo_remedy(message));
}

std::string registry_advice(const Error& error, const ImageName& name) {
  const auto says = [&](std::string_view words) { return error.text.find(words) != std::string::npos; };
  if (says("unauthorized") || says("authentication required") || says("denied"))
    return str_cat("; log in first: skopeo login ", name.registry());
  if (says("server gave HTTP response to HTTPS client"))
    return str_cat("; ", name.registry(), " speaks plain http, which --tls-verify=false takes");
  if (says("x509:")) return "; --tls-verify=false takes a certificate that nobody known here has signed";
  return {};
}

}  // namespace layerboot::launcher
