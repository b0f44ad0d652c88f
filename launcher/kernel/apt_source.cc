#include "launcher/kernel/apt_source.h"

#include <array>
#include <charconv>
#include <system_error>
#include <utility>

#include "oci-mount/base/str_cat.h"

namespace layerboot::launcher {

namespace {

constexpr std::string_view kImagePrefix = "linux-image-";
constexpr std::pair kRecent{6U, 12U};

std::string_view next_piece(std::string_view& text, char end) {
  const std::size_t length = text.find(end);
  const std::string_view piece = text.substr(0, length);
  text.remove_prefix(length == std::string_view::npos ? text.size() : length + 1);
  return piece;
}

/// A list that apt has of Debian's main component.
struct Target {
  std::string_view label;
  std::string_view release;
  std::string_view uri;  // empty of any other list
};

Target next_target(std::string_view& index_targets) {
  std::string_view line = next_piece(index_targets, '\n');
  std::array<std::string_view, 6> fields;
  for (auto& field : fields) field = next_piece(line, '|');
  const auto& [created_by, origin, label, release, uri, component] = fields;
  const bool good = created_by == "Packages" && origin == "Debian" && component == "main" &&
                    !uri.starts_with("cdrom:") && uri.find(' ') == std::string_view::npos;
  return {label, release, good ? uri : std::string_view()};
}

std::string source_line(std::string_view keyring, std::string_view uri, std::string_view suite) {
  return str_cat("deb [signed-by=", keyring, "] ", uri, ' ', suite, " main\n");
}

/// The name of the next package in a list of dependencies; of alternatives the first.
std::string_view next_dependency(std::string_view& list) {
  std::string_view package = next_piece(list, ',');
  while (package.starts_with(' ')) package.remove_prefix(1);
  return package.substr(0, package.find(' '));
}

}  // namespace

std::string os_codename(std::string_view os_release) {
  constexpr std::string_view kKey = "VERSION_CODENAME=";
  while (!os_release.empty()) {
    std::string_view line = next_piece(os_release, '\n');
    if (!line.starts_with(kKey)) continue;
    line.remove_prefix(kKey.size());
    if (line.size() >= 2 && line.front() == '"') line = line.substr(1, line.size() - 2);
    return std::string(line);
  }
  return {};
}

std::optional<std::string> backports_source(std::string_view index_targets, std::string_view codename,
                                            std::string_view keyring) {
  while (!index_targets.empty()) {
    const Target target = next_target(index_targets);
    if (target.label == "Debian" && target.release == codename && !target.uri.empty())
      return source_line(keyring, target.uri, str_cat(codename, "-backports"));
  }
  return std::nullopt;
}

std::optional<std::string> all_sources(std::string_view index_targets, std::string_view codename,
                                       std::string_view further, std::string_view keyring, bool backports) {
  const auto first = backports_source(index_targets, codename, keyring);
  if (!first) return std::nullopt;
  std::string lines = backports ? *first : "";
  const auto add = [&lines](const std::string& line) {
    if (lines.find(line) == std::string::npos) lines += line;
  };
  while (!index_targets.empty()) {
    const Target target = next_target(index_targets);
    const bool of_release = target.release == codename || target.release.starts_with(str_cat(codename, '-'));
    if (target.uri.empty() || !of_release) continue;
    if (!backports && target.release.ends_with("-backports")) continue;
    add(source_line(keyring, target.uri, target.release));
    if (!further.empty() && target.release == codename) add(source_line(keyring, target.uri, further));
  }
  return lines;
}

std::string private_apt_configuration(std::string_view folder) {
  std::string text;
  for (const std::string_view hook :
       {"APT::Update::Pre-Invoke", "APT::Update::Post-Invoke", "APT::Update::Post-Invoke-Success",
        "DPkg::Pre-Invoke", "DPkg::Post-Invoke", "DPkg::Pre-Install-Pkgs", "APT::Default-Release"}) {
    text += str_cat("#clear ", hook, ";\n");
  }
  return str_cat(text, "Dir::Etc::Preferences \"", folder, "/preferences\";\nDir::Etc::PreferencesParts \"",
                 folder, "/preferences.d\";\n");
}

PackageInfo parse_package(std::string_view apt_cache_show) {
  PackageInfo info;
  while (!apt_cache_show.empty()) {
    std::string_view line = next_piece(apt_cache_show, '\n');
    if (line.empty()) break;
    const std::string_view name = next_piece(line, ':');
    if (line.starts_with(' ')) line.remove_prefix(1);
    if (name == "Version") info.version = line;
    if (name == "Depends") info.depends = line;
    if (name == "Size") std::from_chars(line.data(), line.data() + line.size(), info.size_bytes);
  }
  return info;
}

std::string kernel_package_of(const PackageInfo& meta_package) {
  std::string_view rest = meta_package.depends;
  while (!rest.empty()) {
    const std::string_view package = next_dependency(rest);
    if (package.starts_with(kImagePrefix)) return std::string(package);
  }
  return {};
}

std::vector<std::string> kernel_parts_of(std::string_view kernel_package, const PackageInfo& info) {
  std::vector<std::string> parts = {std::string(kernel_package)};
  if (!kernel_package.starts_with(kImagePrefix)) return parts;
  const std::string ending = str_cat('-', kernel_package.substr(kImagePrefix.size()));
  std::string_view rest = info.depends;
  while (!rest.empty()) {
    const std::string_view package = next_dependency(rest);
    if (package.starts_with("linux-") && package.ends_with(ending) && package != kernel_package)
      parts.emplace_back(package);
  }
  return parts;
}

bool is_recent_kernel(std::string_view version) {
  unsigned major = 0;
  unsigned minor = 0;
  const char* const end = version.data() + version.size();
  const auto after_major = std::from_chars(version.data(), end, major);
  if (after_major.ec != std::errc() || after_major.ptr == end || *after_major.ptr != '.') return false;
  if (std::from_chars(after_major.ptr + 1, end, minor).ec != std::errc()) return false;
  return std::pair(major, minor) >= kRecent;
}

bool version_matches(std::string_view version, std::string_view wanted) {
  if (wanted.empty()) return true;
  if (!version.starts_with(wanted)) return false;
  version.remove_prefix(wanted.size());
  return version.empty() || version.front() == '.' || version.front() == '-';
}

}  // namespace layerboot::launcher
