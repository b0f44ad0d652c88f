#include "guest-init/mount_order.h"

#include <algorithm>

namespace guest_init {

std::string plain_path(std::string_view path) {
  std::string plain;
  while (!path.empty()) {
    path.remove_prefix(std::min(path.find_first_not_of('/'), path.size()));
    const std::string_view name = path.substr(0, path.find('/'));
    path.remove_prefix(name.size());
    if (name == "..") plain.resize(plain.empty() ? 0 : plain.rfind('/'));
    if (!name.empty() && name != "." && name != "..") (plain += '/') += name;
  }
  return plain.empty() ? "/" : plain;
}

std::vector<MountStep> in_mount_order(const std::vector<Share>& shares,
                                      const std::vector<std::string>& tmpfs) {
  std::vector<MountStep> steps;
  for (const Share& share : shares)
    steps.push_back({.path = plain_path(share.path), .share = share, .tmpfs_options = {}});
  for (const std::string& text : tmpfs) {
    const std::size_t colon = text.find(':');
    steps.push_back({.path = plain_path(std::string_view(text).substr(0, colon)),
                     .share = {},
                     .tmpfs_options = colon == std::string::npos ? "" : text.substr(colon + 1)});
  }
  const auto depth = [](const MountStep& step) {
    return step.path == "/" ? 0 : std::count(step.path.begin(), step.path.end(), '/');
  };
  std::stable_sort(steps.begin(), steps.end(), [depth](const MountStep& one, const MountStep& other) {
    return depth(one) < depth(other);
  });
  return steps;
}

}  // namespace guest_init
