#include "guest-init/users.h"

#include <charconv>
#include <cstdint>
#include <optional>

namespace guest_init {

namespace {

constexpr std::size_t kMaxFields = 8;
constexpr std::size_t kMaxGroups = 1024;

/// The fields of one line, cut at ':'.
std::vector<std::string_view> fields_of(std::string_view line) {
  std::vector<std::string_view> fields;
  while (fields.size() < kMaxFields) {
    const std::size_t colon = line.find(':');
    fields.push_back(line.substr(0, colon));
    if (colon == std::string_view::npos) break;
    line.remove_prefix(colon + 1);
  }
  return fields;
}

template <typename Visit>
void for_each_line(std::string_view text, Visit visit) {
  while (!text.empty()) {
    const std::size_t end = text.find('\n');
    visit(fields_of(text.substr(0, end)));
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  }
}

std::optional<std::uint32_t> parse_id(std::string_view text) {
  std::uint32_t id = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), id);
  // The last one means "no change" to the system calls.
  if (error != std::errc() || end != text.data() + text.size() || text.empty() || id == UINT32_MAX)
    return std::nullopt;
  return id;
}

bool lists(std::string_view members, std::string_view name) {
  while (!members.empty()) {
    const std::size_t comma = members.find(',');
    if (members.substr(0, comma) == name) return true;
    members.remove_prefix(comma == std::string_view::npos ? members.size() : comma + 1);
  }
  return false;
}

bool find_user(std::string_view wanted, std::string_view passwd, Identity& identity) {
  const auto number = parse_id(wanted);
  bool found = false;
  for_each_line(passwd, [&](const std::vector<std::string_view>& fields) {
    if (found || fields.size() < 6) return;
    const auto uid = parse_id(fields[2]);
    const auto gid = parse_id(fields[3]);
    // A name that looks like a number is the number: that is what runtimes do.
    if (!uid || !gid || (number ? *uid != *number : fields[0] != wanted)) return;
    found = true;
    identity.uid = *uid;
    identity.gid = *gid;
    identity.name = fields[0];
    identity.home = fields[5].empty() ? "/" : fields[5];
  });
  if (found || !number) return found;
  identity.uid = *number;
  identity.gid = 0;
  identity.name = *number == 0 ? "root" : "";
  identity.home = *number == 0 ? "/root" : "/";
  return true;
}

bool find_group(std::string_view wanted, std::string_view group, gid_t& gid) {
  if (const auto number = parse_id(wanted)) {
    gid = *number;
    return true;
  }
  bool found = false;
  for_each_line(group, [&](const std::vector<std::string_view>& fields) {
    if (found || fields.size() < 3 || fields[0] != wanted) return;
    if (const auto id = parse_id(fields[2])) {
      gid = *id;
      found = true;
    }
  });
  return found;
}

}  // namespace

bool find_identity(std::string_view spec, std::string_view passwd, std::string_view group, Identity& identity,
                   std::string& why) {
  const std::size_t colon = spec.find(':');
  const std::string_view user = spec.substr(0, colon);
  const std::string_view wanted_group = colon == std::string_view::npos ? "" : spec.substr(colon + 1);
  if (!find_user(user.empty() ? "0" : user, passwd, identity)) {
    why = "no user '" + std::string(user) + "' in the image's /etc/passwd";
    return false;
  }
  if (!wanted_group.empty()) {
    if (find_group(wanted_group, group, identity.gid)) return true;
    why = "no group '" + std::string(wanted_group) + "' in the image's /etc/group";
    return false;
  }
  if (identity.name.empty()) return true;
  for_each_line(group, [&](const std::vector<std::string_view>& fields) {
    if (fields.size() < 4 || identity.groups.size() == kMaxGroups || !lists(fields[3], identity.name)) return;
    if (const auto gid = parse_id(fields[2])) identity.groups.push_back(*gid);
  });
  return true;
}

}  // namespace guest_init
