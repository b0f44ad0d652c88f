#include "launcher/vm/control_protocol.h"

#include <array>
#include <nlohmann/json.hpp>
#include <utility>

namespace layerboot::launcher {

namespace {

using nlohmann::json;

constexpr std::array<std::pair<ControlVerb, const char*>, 9> kVerbs = {{{ControlVerb::kStatus, "status"},
                                                                        {ControlVerb::kStop, "stop"},
                                                                        {ControlVerb::kKill, "kill"},
                                                                        {ControlVerb::kConsole, "console"},
                                                                        {ControlVerb::kLogs, "logs"},
                                                                        {ControlVerb::kResize, "resize"},
                                                                        {ControlVerb::kWait, "wait"},
                                                                        {ControlVerb::kPause, "pause"},
                                                                        {ControlVerb::kWindow, "window"}}};

Result<std::uint16_t> window_side(const json& object, const char* name) {
  const auto side = object.find(name);
  const bool good = side != object.end() && side->is_number_unsigned() && *side >= 1 && *side <= UINT16_MAX;
  if (!good) return fail(EINVAL, '"', name, "\" is not 1 to ", UINT16_MAX);
  return side->get<std::uint16_t>();
}

}  // namespace

std::string control_request_line(const ControlRequest& request) {
  json object = json::object();
  for (const auto& [verb, word] : kVerbs) {
    if (verb == request.verb) object["do"] = word;
  }
  if (request.timeout_seconds) object["timeout_seconds"] = *request.timeout_seconds;
  if (request.verb == ControlVerb::kResize) object["bytes"] = request.size_bytes;
  if (request.verb == ControlVerb::kWindow) {
    object["rows"] = request.window.rows;
    object["columns"] = request.window.columns;
  }
  return object.dump() + "\n";
}

Result<ControlRequest> parse_control_request(std::string_view line) {
  const json object = json::parse(line, nullptr, false);
  if (!object.is_object()) return fail(EINVAL, "not a JSON object");
  const auto word = object.find("do");
  if (word == object.end() || !word->is_string()) return fail(EINVAL, "\"do\" is missing");
  ControlRequest request;
  bool known = false;
  for (const auto& [verb, name] : kVerbs) {
    if (*word != name) continue;
    request.verb = verb;
    known = true;
  }
  if (!known)
    return fail(EINVAL,
                "\"do\" is none of status, stop, kill, console, logs, resize, wait, pause and window");
  if (request.verb == ControlVerb::kResize) {
    const auto size = object.find("bytes");
    if (size == object.end() || !size->is_number_unsigned()) return fail(EINVAL, "\"bytes\" is no size");
    request.size_bytes = size->get<std::uint64_t>();
  }
  if (request.verb == ControlVerb::kWindow) {
    LB_ASSIGN(request.window.rows, window_side(object, "rows"));
    LB_ASSIGN(request.window.columns, window_side(object, "columns"));
  }
  if (const auto timeout = object.find("timeout_seconds"); timeout != object.end()) {
    if (!timeout->is_number_unsigned() || timeout->get<std::uint64_t>() > kMaxStopSeconds) {
      return fail(EINVAL, "\"timeout_seconds\" is not 0 to ", kMaxStopSeconds);
    }
    request.timeout_seconds = timeout->get<std::uint64_t>();
  }
  return request;
}

}  // namespace layerboot::launcher
