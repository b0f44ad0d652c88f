#include "oci-mount/overlay/marks.h"

#include <array>

namespace layerboot::overlay {

namespace {

constexpr std::string_view kPrivate = "trusted.overlay.";
constexpr std::string_view kEscaped = "trusted.overlay.overlay.";
constexpr std::array<std::string_view, 3> kServed = {"user.", "security.", "trusted."};
constexpr std::size_t kMaxName = 255;  // XATTR_NAME_MAX

bool is_served(std::string_view name) {
  for (const auto prefix : kServed) {
    if (name.starts_with(prefix) && name.size() > prefix.size()) return true;
  }
  return false;
}

}  // namespace

Result<std::string> host_xattr_name(std::string_view guest_name) {
  if (guest_name.empty() || guest_name.find('\0') != std::string_view::npos) return fail(EINVAL);
  if (guest_name.size() > kMaxName) return fail(ERANGE);
  if (!is_served(guest_name)) return fail(EOPNOTSUPP);
  if (!guest_name.starts_with(kPrivate)) return std::string(guest_name);
  auto escaped = str_cat(kEscaped, guest_name.substr(kPrivate.size()));
  if (escaped.size() > kMaxName) return fail(ERANGE);
  return escaped;
}

std::optional<std::string> guest_xattr_name(std::string_view host_name) {
  if (host_name.starts_with(kEscaped)) return str_cat(kPrivate, host_name.substr(kEscaped.size()));
  if (host_name.starts_with(kPrivate) || !is_served(host_name)) return std::nullopt;
  return std::string(host_name);
}

}  // namespace layerboot::overlay
