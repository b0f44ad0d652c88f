#include "launcher/cli/config_file.h"

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <vector>

#include "oci-mount/base/files.h"
#include "oci-mount/base/spelling.h"

namespace layerboot::launcher {

namespace {

using nlohmann::json;

constexpr std::size_t kMaxConfigBytes = std::size_t{1} << 20;
constexpr const char* kInFolder = "layerboot/config.json";

std::string config_path() {
  if (const char* named = std::getenv("LAYERBOOT_CONFIG"); named != nullptr) return named;
  if (const char* folder = std::getenv("XDG_CONFIG_HOME"); folder != nullptr && *folder == '/')
    return std::filesystem::path(folder) / kInFolder;
  if (::geteuid() == 0) return std::filesystem::path("/etc") / kInFolder;
  const char* home = std::getenv("HOME");
  return home == nullptr ? "" : (std::filesystem::path(home) / ".config" / kInFolder).string();
}

Result<std::string> text_of(const json& value) {
  if (value.is_string()) return value.get<std::string>();
  if (value.is_boolean()) return std::string(value.get<bool>() ? "true" : "false");
  if (value.is_number()) return value.dump();
  return fail(EINVAL, "it is no text, number, true or false, or an array of these");
}

/// What the file has for an option of the command.
struct Wish {
  CLI::Option* option;
  std::string name;
  const json* value;

  [[nodiscard]] bool is_no() const { return value->is_boolean() && !value->get<bool>(); }
};

using Wishes = std::vector<Wish>;

Result<void> take_value(const Wish& wish) {
  const bool is_flag = wish.option->get_items_expected_max() == 0;
  if (is_flag && !wish.value->is_boolean()) return fail(EINVAL, "it is a flag: give true or false");
  for (const json& one : wish.value->is_array() ? *wish.value : json::array({*wish.value})) {
    LB_ASSIGN(const std::string text, text_of(one));
    wish.option->add_result(text);
  }
  if (wish.option->count() > 0) wish.option->run_callback();
  // A flag that is not to be set counts as one that nobody gave.
  if (is_flag && wish.is_no()) wish.option->clear();
  return {};
}

Result<void> give(const Wish& wish) {
  try {
    return take_value(wish);
  } catch (const CLI::Error& error) {
    return fail(EINVAL, error.what());
  }
}

/// What was typed counts before the file: also where it and what the file has exclude each other.
bool is_typed_away(const CLI::Option& option) {
  return option.count() > 0 ||
         std::ranges::any_of(option.get_excludes(), [](const auto* other) { return other->count() > 0; });
}

bool is_asked_for(const CLI::Option* option, const Wishes& wishes) {
  return option->count() > 0 || std::ranges::any_of(wishes, [&](const Wish& wish) {
           return wish.option == option && !wish.is_no();
         });
}

/// How a thing is to be that is not asked for.
void leave_out_needless(Wishes& wishes) {
  const auto is_needless = [&wishes](const Wish& wish) {
    return !std::ranges::all_of(wish.option->get_needs(),
                                [&](const auto* needed) { return is_asked_for(needed, wishes); });
  };
  for (auto at = std::ranges::find_if(wishes, is_needless); at != wishes.end();
       at = std::ranges::find_if(wishes, is_needless))
    wishes.erase(at);
}

Result<void> check_fit_together(const Wishes& wishes) {
  for (const Wish& one : wishes) {
    for (const Wish& other : wishes) {
      if (!one.is_no() && !other.is_no() && one.option->get_excludes().contains(other.option))
        return fail(EINVAL, one.name, " and ", other.name, " exclude each other");
    }
  }
  return {};
}

std::vector<std::string> option_names(const CLI::App& command) {
  std::vector<std::string> names;
  for (const CLI::Option* option : command.get_options()) {
    for (const std::string& name : option->get_lnames()) names.push_back(name);
  }
  return names;
}

Result<Wishes> wishes_for(const CLI::App& command, const json& object) {
  if (!object.is_object()) return fail(EINVAL, "is no object of options");
  Wishes wishes;
  for (const auto& [name, value] : object.items()) {
    const auto* known = command.get_option_no_throw("--" + name);
    if (known == nullptr || name == "help")
      return fail(EINVAL, "has no option --", name, did_you_mean(name, option_names(command)));
    // CLI11 gives out its options to be read only.
    if (!is_typed_away(*known))
      wishes.push_back({.option = const_cast<CLI::Option*>(known), .name = name, .value = &value});
  }
  leave_out_needless(wishes);
  LB_TRY(check_fit_together(wishes));
  return wishes;
}

Result<void> apply_to(const CLI::App& command, const json& object) {
  const auto wishes = wishes_for(command, object);
  if (!wishes) return while_doing(wishes.error(), command.get_name());
  for (const Wish& wish : *wishes) {
    const auto given = give(wish);
    if (!given) return while_doing(given.error(), command.get_name(), ": ", wish.name);
  }
  return {};
}

Result<void> apply(const CLI::App& app, const json& document) {
  if (!document.is_object()) return fail(EINVAL, "not a JSON object");
  std::vector<std::string> commands;
  for (const CLI::App* command : app.get_subcommands(nullptr)) commands.push_back(command->get_name());
  for (const auto& [name, options] : document.items()) {
    if (std::ranges::find(commands, name) == commands.end())
      return fail(EINVAL, "no command is called ", name, did_you_mean(name, commands));
  }
  for (const CLI::App* command : app.get_subcommands()) {
    const auto at = document.find(command->get_name());
    if (at != document.end()) LB_TRY(apply_to(*command, *at));
  }
  return {};
}

}  // namespace

Result<ConfigFile> read_config_file() {
  ConfigFile file{.path = config_path(), .text = {}};
  if (file.path.empty()) return file;
  auto text = read_file(file.path, kMaxConfigBytes);
  // One that was named is meant to be there.
  const bool may_be_missing = std::getenv("LAYERBOOT_CONFIG") == nullptr;
  // Nor is one in the home of somebody else, which sudo and su leave in the environment, ours.
  const int code = text ? 0 : text.error().code;
  if (may_be_missing && (code == ENOENT || code == ENOTDIR || code == EACCES)) return file;
  if (!text) return std::unexpected(text.error());
  file.text = *std::move(text);
  return file;
}

Result<void> apply_config_file(const CLI::App& app, const ConfigFile& file) {
  if (file.text.empty()) return {};
  const json document = json::parse(file.text, nullptr, false);
  const auto applied =
      document.is_discarded() ? Result<void>(fail(EINVAL, "not JSON")) : apply(app, document);
  if (!applied) return while_doing(applied.error(), file.path);
  return {};
}

}  // namespace layerboot::launcher
