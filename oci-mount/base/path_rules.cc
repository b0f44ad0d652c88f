#include "oci-mount/base/path_rules.h"

namespace layerboot {

namespace {

bool has_nul(std::string_view text) { return text.find('\0') != std::string_view::npos; }

}  // namespace

bool is_valid_name(std::string_view name) {
  if (name.empty() || name.size() > kMaxNameBytes || name == "." || name == "..") return false;
  return name.find('/') == std::string_view::npos && !has_nul(name);
}

Result<void> check_path(std::string_view path) {
  if (path.empty()) return {};
  if (path.size() > kMaxPathBytes) return fail(ENAMETOOLONG, "path over ", kMaxPathBytes, " bytes");
  if (has_nul(path)) return fail(EINVAL, "path with a NUL");
  std::size_t depth = 0;
  for (std::string_view rest = path;;) {
    const std::size_t slash = rest.find('/');
    const std::string_view name = rest.substr(0, slash);
    if (name.size() > kMaxNameBytes) return fail(ENAMETOOLONG, "name over ", kMaxNameBytes, " bytes");
    if (!is_valid_name(name)) return fail(EINVAL, "path with an empty, \".\" or \"..\" component");
    if (++depth > kMaxPathDepth)
      return fail(ENAMETOOLONG, "path deeper than ", kMaxPathDepth, " directories");
    if (slash == std::string_view::npos) return {};
    rest.remove_prefix(slash + 1);
  }
}

void add_clean_parts(std::vector<std::string_view>& parts, std::string_view path) {
  while (!path.empty()) {
    const auto slash = path.find('/');
    const auto part = path.substr(0, slash);
    path.remove_prefix(slash == std::string_view::npos ? path.size() : slash + 1);
    if (part.empty() || part == ".") continue;
    if (part != "..") {
      parts.push_back(part);
    } else if (!parts.empty()) {
      parts.pop_back();
    }
  }
}

std::string joined_path(const std::vector<std::string_view>& parts) {
  std::string path;
  for (const auto part : parts) {
    if (!path.empty()) path += '/';
    path += part;
  }
  return path;
}

bool is_valid_symlink_target(std::string_view target) {
  return !target.empty() && target.size() <= kMaxSymlinkBytes && !has_nul(target);
}

bool is_valid_xattr_name(std::string_view name) {
  return !name.empty() && name.size() <= kMaxXattrNameBytes && !has_nul(name);
}

std::string_view parent_path(std::string_view path) {
  const std::size_t slash = path.rfind('/');
  return slash == std::string_view::npos ? std::string_view() : path.substr(0, slash);
}

std::string_view last_component(std::string_view path) {
  const std::size_t slash = path.rfind('/');
  return slash == std::string_view::npos ? path : path.substr(slash + 1);
}

}  // namespace layerboot
