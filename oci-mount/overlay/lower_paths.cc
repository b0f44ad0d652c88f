#include "oci-mount/overlay/lower_paths.h"

#include <sys/stat.h>

#include <vector>

#include "oci-mount/base/bytes.h"
#include "oci-mount/store/digest.h"

namespace layerboot::overlay {

namespace {

/// With a '/' that does not come first, so that overlayfs, which can't follow it, refuses it (EINVAL).
constexpr std::string_view kDigestPrefix = "sha256/";

Result<std::string> digested(std::string_view path) {
  LB_ASSIGN(const auto digest, store::digest_of(store::HashAlgorithm::kSha256, as_bytes(path)));
  return str_cat(kDigestPrefix, digest.hex());
}

/// As hosts say that an attribute is too large for them: for ext4 and btrfs it does not fit the object's
/// block.
bool has_no_room(const Result<void>& set) {
  if (set) return false;
  const int code = set.error().code;
  return code == ENOSPC || code == E2BIG || code == ERANGE;
}

}  // namespace

Result<void> LowerPaths::set_mark(Place place, std::string_view mark, tree::NodeId lower) const {
  const std::string path = tree_.path(lower);
  if (path.size() <= kMaxPathBytes) {
    auto set = set_xattr_at(place, mark, path, 0);
    if (!has_no_room(set) || path.size() < kMinDigestedBytes) return set;
  }
  LB_ASSIGN(const std::string text, digested(path));
  return set_xattr_at(place, mark, text, 0);
}

tree::NodeId LowerPaths::at(std::string_view mark) {
  if (mark.starts_with(kDigestPrefix)) {
    if (!by_digest_) learn_digests();
    const auto found = by_digest_->find(std::string(mark));
    return found == by_digest_->end() ? tree::kNoNode : found->second;
  }
  if (!mark.starts_with('/')) return tree::kNoNode;
  tree::NodeId at = tree::kRoot;
  while (at != tree::kNoNode && !mark.empty()) {
    const auto end = mark.find('/');
    const auto part = mark.substr(0, end);
    if (!part.empty()) at = tree_.lookup(at, part);
    mark.remove_prefix(end == std::string_view::npos ? mark.size() : end + 1);
  }
  return at;
}

tree::NodeId LowerPaths::named(tree::NodeId directory, std::string_view name,
                               const std::optional<std::string>& redirect) {
  if (redirect && redirect->contains('/')) return at(*redirect);
  if (directory == tree::kNoNode) return tree::kNoNode;
  return tree_.lookup(directory, redirect ? std::string_view(*redirect) : name);
}

void LowerPaths::learn_digests() {
  by_digest_.emplace();
  struct Level {
    std::span<const tree::DirentRecord> entries;
    std::size_t next = 0;
    std::size_t path_bytes = 0;
  };
  std::vector<Level> levels;
  std::string path;
  levels.push_back({.entries = tree_.entries(tree::kRoot)});
  while (!levels.empty()) {
    Level& level = levels.back();
    path.resize(level.path_bytes);
    if (level.next == level.entries.size()) {
      levels.pop_back();
      continue;
    }
    const auto& entry = level.entries[level.next++];
    path.append("/").append(tree_.name(entry));
    if (path.size() >= kMinDigestedBytes) {
      if (auto text = digested(path); text) by_digest_->emplace(*std::move(text), entry.node);
    }
    if (S_ISDIR(tree_.node(entry.node).mode)) {
      levels.push_back({.entries = tree_.entries(entry.node), .path_bytes = path.size()});
    }
  }
}

}  // namespace layerboot::overlay
