#include "launcher/images/image_change.h"

#include <algorithm>
#include <cctype>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "launcher/images/containerfile_words.h"
#include "oci-mount/base/ascii.h"
#include "oci-mount/base/decimal.h"
#include "oci-mount/base/printable.h"
#include "oci-mount/store/oci_json.h"

namespace layerboot::launcher {

namespace {

using store::Json;

/// Those that a process of the image has.
Variables variables_of(const Json& config) {
  return [env = config.value("Env", Json())](std::string_view name) -> std::optional<std::string> {
    if (!env.is_array()) return {};
    const std::string begin = str_cat(name, "=");
    for (const Json& one : env) {
      if (one.is_string() && one.get_ref<const std::string&>().starts_with(begin))
        return one.get_ref<const std::string&>().substr(begin.size());
    }
    return {};
  };
}

/// A list of texts in JSON, where it is one.
Result<Json> json_list(std::string_view text) {
  Json list = Json::parse(text.begin(), text.end(), nullptr, false);
  const bool is_list =
      list.is_array() && std::ranges::all_of(list, [](const Json& one) { return one.is_string(); });
  if (!is_list) return fail(EINVAL, "\"", printable(text), "\" is no list of texts in JSON");
  return list;
}

/// ["exec", "form"], or a line for the shell.
Result<Json> command_of(std::string_view text) {
  if (text.starts_with('[')) return json_list(text);
  if (text.empty()) return fail(EINVAL, "it says no command");
  return Json::array({"/bin/sh", "-c", std::string(text)});
}

/// The member as an object or list, whatever it was.
Json& member(Json& config, const char* key, Json::value_t type) {
  Json& value = config[key];
  if (value.type() != type) value = Json(type);
  return value;
}

Result<void> set_env(Json& config, std::string_view text) {
  LB_ASSIGN(const auto pairs, expand_keys_and_values(text, variables_of(config)));
  Json& env = member(config, "Env", Json::value_t::array);
  for (const auto& [key, value] : pairs) {
    const std::string begin = str_cat(key, "=");
    const auto same = std::ranges::find_if(env, [&](const Json& one) {
      return one.is_string() && one.get_ref<const std::string&>().starts_with(begin);
    });
    if (same != env.end()) {
      *same = str_cat(begin, value);
    } else {
      env.push_back(str_cat(begin, value));
    }
  }
  return {};
}

Result<void> set_labels(Json& config, std::string_view text) {
  LB_ASSIGN(const auto pairs, expand_keys_and_values(text, variables_of(config)));
  Json& labels = member(config, "Labels", Json::value_t::object);
  for (const auto& [key, value] : pairs) labels[key] = value;
  return {};
}

/// "80", "80/udp", "8000-8010/tcp": one of each, with its protocol.
Result<std::vector<std::string>> ports_of(std::string_view word) {
  const auto slash = word.find('/');
  const std::string protocol(slash == std::string_view::npos ? "tcp" : word.substr(slash + 1));
  const std::string_view numbers = word.substr(0, slash);
  const auto dash = numbers.find('-');
  const auto first = parse_whole<std::uint16_t>(numbers.substr(0, dash));
  const auto last =
      dash == std::string_view::npos ? first : parse_whole<std::uint16_t>(numbers.substr(dash + 1));
  const bool well = first && last && *first > 0 && *first <= *last &&
                    (protocol == "tcp" || protocol == "udp" || protocol == "sctp");
  if (!well) return fail(EINVAL, "\"", printable(word), "\" is no port such as 80, 53/udp or 8000-8010");
  std::vector<std::string> ports;
  for (unsigned port = *first; port <= *last; ++port) ports.push_back(str_cat(port, "/", protocol));
  return ports;
}

Result<void> add_ports(Json& config, std::string_view text) {
  LB_ASSIGN(const auto words, expand_words(text, variables_of(config)));
  if (words.empty()) return fail(EINVAL, "it says no port");
  Json& exposed = member(config, "ExposedPorts", Json::value_t::object);
  for (const std::string& word : words) {
    LB_ASSIGN(const auto ports, ports_of(word));
    for (const std::string& port : ports) exposed[port] = Json::object();
  }
  return {};
}

Result<void> add_volumes(Json& config, std::string_view text) {
  std::vector<std::string> paths;
  if (text.starts_with('[')) {
    LB_ASSIGN(const Json list, json_list(text));
    for (const Json& path : list) paths.push_back(path.get<std::string>());
  } else {
    LB_ASSIGN(paths, expand_words(text, variables_of(config)));
  }
  if (paths.empty() || std::ranges::any_of(paths, [](const auto& path) { return path.empty(); }))
    return fail(EINVAL, "it says no path");
  Json& volumes = member(config, "Volumes", Json::value_t::object);
  for (const std::string& path : paths) volumes[path] = Json::object();
  return {};
}

Result<void> set_text(Json& config, const char* key, std::string_view text) {
  if (text.empty()) return fail(EINVAL, "it says nothing");
  config[key] = std::string(text);
  return {};
}

/// Relative to the one before.
Result<void> set_working_directory(Json& config, std::string_view text) {
  if (text.empty() || text.starts_with('/')) return set_text(config, "WorkingDir", text);
  const std::string before = store::text_member(config, "WorkingDir");
  return set_text(config, "WorkingDir", str_cat(before, before.ends_with('/') ? "" : "/", text));
}

/// Of who builds upon the image; Docker's, in no specification.
Result<void> set_shell(Json& config, std::string_view text) {
  LB_ASSIGN(Json words, json_list(text));
  if (words.empty()) return fail(EINVAL, "it says no command");
  config["Shell"] = std::move(words);
  return {};
}

Result<void> set_command(Json& config, const char* key, std::string_view text) {
  LB_ASSIGN(Json command, command_of(text));
  config[key] = std::move(command);
  return {};
}

}  // namespace

std::vector<std::string> completed_changes(std::vector<std::string> changes) {
  const auto is_word = [](std::string_view instruction, std::string_view word) {
    instruction = trim_blanks(instruction);
    return ascii_lower(std::string(instruction.substr(0, instruction.find_first_of(" \t")))) == word;
  };
  const auto has = [&](std::string_view word) {
    return std::ranges::any_of(changes, [&](const std::string& one) { return is_word(one, word); });
  };
  if (has("entrypoint") && !has("cmd")) changes.insert(changes.begin(), "CMD []");
  return changes;
}

Result<void> apply_change(Json& config, std::string_view instruction) {
  const std::string_view whole = trim_blanks(instruction);
  const auto end = whole.find_first_of(" \t");
  std::string word(whole.substr(0, end));
  std::ranges::transform(word, word.begin(), [](unsigned char c) { return std::toupper(c); });
  const std::string_view rest = end == std::string_view::npos ? "" : trim_blanks(whole.substr(end));
  Json changed = config.is_object() ? config : Json::object();
  Result<void> done = fail(EINVAL, "known are ", kChangeWords);
  if (word == "CMD") done = set_command(changed, "Cmd", rest);
  if (word == "ENTRYPOINT") done = set_command(changed, "Entrypoint", rest);
  if (word == "ENV") done = set_env(changed, rest);
  if (word == "USER") done = set_text(changed, "User", rest);
  if (word == "WORKDIR") done = set_working_directory(changed, rest);
  if (word == "LABEL") done = set_labels(changed, rest);
  if (word == "EXPOSE") done = add_ports(changed, rest);
  if (word == "VOLUME") done = add_volumes(changed, rest);
  if (word == "SHELL") done = set_shell(changed, rest);
  if (word == "STOPSIGNAL") done = set_text(changed, "StopSignal", rest);
  if (!done) return while_doing(done.error(), "change \"", printable(whole), "\"");
  config = std::move(changed);
  return {};
}

}  // namespace layerboot::launcher
