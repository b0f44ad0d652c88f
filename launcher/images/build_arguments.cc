#include "launcher/images/build_arguments.h"

#include <algorithm>
#include <cctype>
#include <cstdlib>

#include "oci-mount/base/printable.h"
#include "oci-mount/base/str_cat.h"

namespace layerboot::launcher {

namespace {

/// What docker has for TARGETPLATFORM, TARGETOS, TARGETARCH and TARGETVARIANT, and the same with BUILD for a
/// `prefix`; nothing for other names.
std::optional<std::string> platform_value(std::string_view name, std::string_view prefix,
                                          const store::Platform& platform) {
  if (!name.starts_with(prefix)) return {};
  name.remove_prefix(prefix.size());
  if (name == "PLATFORM") return store::platform_text(platform);
  if (name == "OS") return platform.os;
  if (name == "ARCH") return platform.architecture;
  if (name == "VARIANT") return platform.variant;
  return {};
}

}  // namespace

Result<BuildArguments> parse_build_arguments(const std::vector<std::string>& texts) {
  BuildArguments arguments;
  for (const std::string& text : texts) {
    const auto equals = text.find('=');
    const std::string name = text.substr(0, equals);
    if (!is_argument_name(name))
      return fail(EINVAL, "--build-arg ", printable(text), ": it is to be NAME=VALUE");
    const char* const there = equals == std::string::npos ? std::getenv(name.c_str()) : nullptr;
    if (equals != std::string::npos) {
      arguments[name] = text.substr(equals + 1);
    } else if (there != nullptr) {
      arguments[name] = there;
    }
  }
  return arguments;
}

bool is_argument_name(std::string_view text) {
  const auto is_good = [](unsigned char c) {
    return std::isalnum(c) != 0 || c == '_' || c == '.' || c == '-';
  };
  return !text.empty() && std::ranges::all_of(text, is_good);
}

Result<void> set_variable(BuildArguments& values, std::size_t& bytes, const std::string& name,
                          const std::string& value) {
  const auto [at, is_new] = values.try_emplace(name);
  if (is_new) bytes += name.size();
  bytes = bytes - at->second.size() + value.size();
  at->second = value;
  if (bytes > kMaxVariablesBytes)
    return fail(EINVAL, "the variables come to more than ", kMaxVariablesBytes >> 20, " MiB");
  return {};
}

std::optional<std::string> value_of_target(std::string_view name, const store::Platform& platform) {
  return platform_value(name, "TARGET", platform);
}

std::optional<std::string> value_of_builder(std::string_view name) {
  return platform_value(name, "BUILD", store::host_platform());
}

Result<void> GlobalScope::take(const std::vector<Instruction>& instructions) {
  for (const Instruction& given : instructions) {
    if (given.word == "FROM") break;
    if (given.word != "ARG") return fail(EINVAL, said_at(given), ": only ARG may be before FROM");
    if (const auto taken = declare(given.text); !taken) return while_doing(taken.error(), said_at(given));
  }
  return {};
}

Result<std::vector<std::string>> GlobalScope::words(std::string_view text) {
  LB_ASSIGN(auto words, expand_words(text, lookup()));
  LB_TRY(check_known());
  return words;
}

Result<void> GlobalScope::declare(std::string_view text) {
  LB_ASSIGN(const auto pairs, expand_pairs(text, lookup()));
  LB_TRY(check_known());
  for (const WordPair& pair : pairs) {
    const auto given = arguments_.find(pair.key);
    const auto value = given != arguments_.end() ? std::optional(given->second) : pair.value;
    if (value) {
      LB_TRY(set_variable(values_, bytes_, pair.key, *value));
    } else {
      lookup()(pair.key);
      LB_TRY(check_known());
    }
  }
  return {};
}

/// The builder's platform needs no ARG here, as docker has it.
Variables GlobalScope::lookup() {
  return [this](std::string_view name) -> std::optional<std::string> {
    if (const auto set = values_.find(name); set != values_.end()) return set->second;
    if (auto known = target_ ? value_of_target(name, *target_) : std::nullopt) return known;
    if (value_of_target(name, {})) unknown_ = name;
    return value_of_builder(name);
  };
}

/// Not what is empty, where Docker has something.
Result<void> GlobalScope::check_known() const {
  if (unknown_.empty()) return {};
  return fail(ENOTSUP, unknown_, " is known behind FROM only: give --build-arg ", unknown_, "=…, and ARG ",
              unknown_);
}

}  // namespace layerboot::launcher
