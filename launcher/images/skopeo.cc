#include "launcher/images/skopeo.h"

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

Result<std::string> run_skopeo(const SkopeoCall& call) {
  ToolSpec tool;
  tool.argv = {"skopeo"};
  tool.argv.insert(tool.argv.end(), call.words.begin(), call.words.end());
  tool.working_directory = call.working_directory;
  tool.on_tick = call.on_tick;
  auto said = run_tool(tool);
  if (said) return said;
  if (said.error().code == ENOENT)
    return fail(ENOENT, "skopeo, which fetches images, is not installed: apt-get install skopeo");
  if (said.error().text.find("level=fatal") == std::string::npos) return said;
  return fail(said.error().code, skopeo_message(said.error().text));
}

}  // namespace layerboot::launcher
