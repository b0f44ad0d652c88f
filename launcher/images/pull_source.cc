#include "launcher/images/pull_source.h"

#include <algorithm>
#include <array>

#include "launcher/vm/vm_config.h"
#include "oci-mount/store/reference.h"

namespace layerboot::launcher {

namespace {

constexpr std::array<std::string_view, 2> kEngines = {"docker-daemon:", "containers-storage:"};
constexpr std::array<std::string_view, 4> kFiles = {"dir:", "oci:", "oci-archive:", "docker-archive:"};

/// The image's name in what follows the engine's notation: containers-storage may have "[driver@root]" before
/// it.
Result<ImageName> engines_name(std::string_view rest) {
  if (rest.starts_with('[')) {
    const auto end = rest.find(']');
    rest.remove_prefix(end == std::string_view::npos ? rest.size() : end + 1);
  }
  return parse_image_name(rest);
}

Result<PullSource> from_engine(std::string_view engine, std::string_view text, std::string_view given_name) {
  PullSource source;
  source.text = text;
  const std::string_view rest = text.substr(engine.size());
  const auto name = engines_name(rest);
  if (given_name.empty() && !name) {
    return fail(EINVAL, "\"", text, "\" has no name that the image could keep: layerboot pull ", text,
                " NAME gives it one");
  }
  const bool spelled_out = rest.find_first_of(":@[") != std::string_view::npos;
  // skopeo wants the tag spelled out, and a name without one is "latest" here as everywhere.
  if (!spelled_out && name) source.text = str_cat(engine, rest, ":latest");
  if (given_name.empty()) source.stored_name = name->text();
  return source;
}

/// As skopeo, which runs elsewhere, and a repair, which may, find it.
Result<std::string> from_files(std::string_view text) {
  constexpr std::string_view kDirectory = "dir:";
  LB_TRY(store::parse_reference(text, {}));
  std::string whole = absolute_reference(text);
  const std::size_t path_at = text.find(':') + 1;
  const auto put_before = std::string_view(whole).substr(path_at, whole.size() - text.size());
  if (text.starts_with(kDirectory) || !put_before.contains(':')) return whole;
  return fail(EINVAL, "\"", text,
              "\" lies below a directory with a ':' in its name, where a tag would begin (", whole,
              "): move it elsewhere first");
}

}  // namespace

bool is_other_engines(std::string_view text) {
  return std::ranges::any_of(kEngines, [&](std::string_view engine) { return text.starts_with(engine); });
}

Result<PullSource> parse_pull_source(std::string_view text, std::string_view name) {
  PullSource source;
  const auto engine =
      std::ranges::find_if(kEngines, [&](std::string_view prefix) { return text.starts_with(prefix); });
  const bool is_file =
      std::ranges::any_of(kFiles, [&](std::string_view prefix) { return text.starts_with(prefix); });
  if (engine != kEngines.end()) {
    LB_ASSIGN(source, from_engine(*engine, text, name));
  } else if (is_file) {
    LB_ASSIGN(source.text, from_files(text));
    if (name.empty()) {
      return fail(EINVAL, "\"", text, "\" does not say what the image is called: layerboot pull ", text,
                  " NAME");
    }
  } else {
    LB_ASSIGN(source.registry_name, parse_image_name(text));
    source.text = str_cat("docker://", source.registry_name->text());
    source.stored_name = source.registry_name->text();
  }
  if (name.empty()) return source;
  LB_ASSIGN(source.stored_name, name_to_give(name));
  return source;
}

}  // namespace layerboot::launcher
