#include "oci-mount/overlay/lower_paths.h"

#include <sys/stat.h>

#include <algorithm>
#include <vector>

#include "oci-mount/base/bytes.h"
#include "oci-mount/base/decimal.h"
#include "oci-mount/store/digest.h"

namespace layerboot::overlay {

namespace {

/// With a '/' that does not come first, so that overlayfs, which can't follow it, refuses it (EINVAL).
constexpr std::string_view kDigestPrefix = "sha256/";

Result<std::string> digested(std::string_view path) {
  LB_ASSIGN(const auto digest, store::digest_of(store::HashAlgorithm::kSha256, as_bytes(path)));
  return str_cat(kDigestPrefix, digest.hex());
}

/// The first eight bytes of a digest.
constexpr std::size_t kBeginDigits = 16;

/// Nothing where it is no digest.
std::optional<std::uint64_t> begin_of(std::string_view mark) {
  const auto digits = mark.substr(kDigestPrefix.size()).substr(0, kBeginDigits);
  return digits.size() == kBeginDigits ? parse_whole<std::uint64_t>(digits, 16) : std::nullopt;
}

}  // namespace

Result<void> LowerPaths::set_mark(Place place, std::string_view mark, tree::NodeId lower) const {
  const std::string path = tree_.path(lower);
  if (path.size() <= kMaxPathBytes) {
    auto set = set_xattr_at(place, mark, path, 0);
    if (set || !lacks_attribute_room(set.error()) || path.size() < kMinDigestedBytes) return set;
  }
  LB_ASSIGN(const std::string text, digested(path));
  return set_xattr_at(place, mark, text, 0);
}

Result<tree::NodeId> LowerPaths::at(std::string_view mark) {
  if (mark.starts_with(kDigestPrefix)) return at_digest(mark);
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

Result<tree::NodeId> LowerPaths::at_digest(std::string_view mark) {
  const auto begin = begin_of(mark);
  if (!begin) return tree::kNoNode;
  if (!digested_) LB_TRY(learn_digests());
  // Whoever made the image may have made some begin alike.
  for (const auto& one : std::ranges::equal_range(*digested_, *begin, {}, &Digested::begin)) {
    LB_ASSIGN(const std::string text, digested(tree_.path(one.row)));
    if (text == mark) return one.row;
  }
  return tree::kNoNode;
}

Result<tree::NodeId> LowerPaths::named(tree::NodeId directory, std::string_view name,
                                       const std::optional<std::string>& redirect) {
  if (redirect && redirect->contains('/')) return at(*redirect);
  if (directory == tree::kNoNode) return tree::kNoNode;
  return tree_.lookup(directory, redirect ? std::string_view(*redirect) : name);
}

/// Calls `visit` with each row that set_mark() may keep by a digest, and its path: of a file with several
/// names the first.
template <typename Visit>
Result<void> LowerPaths::each_long_path(Visit visit) const {
  struct Level {
    tree::NodeId directory;
    std::size_t next = 0;
    std::size_t path_bytes = 0;
  };
  std::vector<Level> levels;
  std::string path;
  levels.push_back({.directory = tree::kRoot});
  while (!levels.empty()) {
    Level& level = levels.back();
    path.resize(level.path_bytes);
    const auto entries = tree_.entries(level.directory);
    if (level.next == entries.size()) {
      levels.pop_back();
      continue;
    }
    const auto& entry = entries[level.next++];
    const auto name = tree_.name(entry);
    path.append("/").append(name);
    const bool is_first =
        tree_.parent(entry.node) == level.directory && tree_.name_in_parent(entry.node) == name;
    if (is_first && path.size() >= kMinDigestedBytes) LB_TRY(visit(entry.node, path));
    if (S_ISDIR(tree_.node(entry.node).mode)) {
      levels.push_back({.directory = entry.node, .path_bytes = path.size()});
    }
  }
  return {};
}

Result<void> LowerPaths::learn_digests() {
  std::size_t count = 0;
  LB_TRY(each_long_path([&count](tree::NodeId, const std::string&) -> Result<void> {
    ++count;
    return {};
  }));
  if (!memory_.has_room(count * kDigestedBytes)) {
    return fail(ENOMEM, "no memory is left for the digests of the image's ", count, " long paths");
  }
  std::vector<Digested> found;
  found.reserve(count);
  LB_TRY(each_long_path([&found](tree::NodeId row, const std::string& path) -> Result<void> {
    LB_ASSIGN(const std::string text, digested(path));
    found.push_back({.begin = begin_of(text).value_or(0), .row = row});
    return {};
  }));
  std::ranges::sort(found, {}, &Digested::begin);
  memory_share_.set(found.size() * kDigestedBytes);
  digested_ = std::move(found);
  return {};
}

}  // namespace layerboot::overlay
