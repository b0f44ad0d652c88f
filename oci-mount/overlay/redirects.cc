#include "oci-mount/overlay/redirects.h"

namespace layerboot::overlay {

tree::NodeId row_at(const tree::Tree& tree, std::string_view path) {
  tree::NodeId at = tree::kRoot;
  while (at != tree::kNoNode && !path.empty()) {
    const auto end = path.find('/');
    const auto part = path.substr(0, end);
    if (!part.empty()) at = tree.lookup(at, part);
    path.remove_prefix(end == std::string_view::npos ? path.size() : end + 1);
  }
  return at;
}

tree::NodeId lower_named(const MergedName& merged, const std::optional<std::string>& redirect) {
  if (redirect && redirect->starts_with('/')) return row_at(merged.tree, *redirect);
  if (merged.directory == tree::kNoNode) return tree::kNoNode;
  return merged.tree.lookup(merged.directory, redirect ? std::string_view(*redirect) : merged.name);
}

Result<tree::NodeId> merged_lower(const MergedName& merged, const Marks& marks, Place place) {
  LB_ASSIGN(const auto opaque, get_xattr_at(place, marks.opaque));
  if (opaque == "y") return tree::kNoNode;
  LB_ASSIGN(const auto redirect, get_xattr_at(place, marks.redirect));
  const tree::NodeId lower = lower_named(merged, redirect);
  const bool is_directory = lower != tree::kNoNode && S_ISDIR(merged.tree.node(lower).mode);
  return is_directory ? lower : tree::kNoNode;
}

Result<tree::NodeId> metacopy_source(const MergedName& merged, const Marks& marks, Place place,
                                     const struct stat& st) {
  LB_ASSIGN(const auto mark, get_xattr_at(place, marks.metacopy));
  if (!mark) return tree::kNoNode;
  LB_ASSIGN(const auto redirect, get_xattr_at(place, marks.redirect));
  const tree::NodeId lower = lower_named(merged, redirect);
  if (lower == tree::kNoNode || !S_ISREG(merged.tree.node(lower).mode)) {
    return fail(EIO, merged.name, ": its data should be in the image at ",
                redirect.value_or("the same place"),
                ", where no file is: the upper directory was changed by something else");
  }
  const std::uint64_t size_bytes = merged.tree.node(lower).size_bytes;
  if (size_bytes > 0 && size_bytes == static_cast<std::uint64_t>(st.st_size)) return lower;
  LB_TRY(remove_xattr_at(place, marks.metacopy));
  return tree::kNoNode;
}

}  // namespace layerboot::overlay
