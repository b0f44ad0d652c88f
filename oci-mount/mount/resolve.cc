#include "oci-mount/mount/resolve.h"

#include <sys/stat.h>

#include <string>

#include "oci-mount/base/str_cat.h"

namespace layerboot::mount {

namespace {

constexpr int kMaxSymlinks = 40;  // MAXSYMLINKS of Linux

}  // namespace

Result<tree::NodeId> resolve(const tree::Tree& tree, std::string_view path, LastSymlink last) {
  const auto refuse = [path](int code) { return fail(code, path, ": ", Error{code, {}}.describe()); };
  std::string rest(path);  // what is still to be walked
  tree::NodeId at = tree::kRoot;
  int symlinks = 0;
  while (!rest.empty()) {
    const std::size_t slash = rest.find('/');
    const std::string name = rest.substr(0, slash);
    const bool is_last = slash == std::string::npos;
    rest.erase(0, is_last ? rest.size() : slash + 1);
    if (!S_ISDIR(tree.node(at).mode)) return refuse(ENOTDIR);
    if (name.empty() || name == ".") continue;
    if (name == "..") {
      at = tree.parent(at);
      continue;
    }
    const tree::NodeId child = tree.lookup(at, name);
    if (child == tree::kNoNode) return refuse(ENOENT);
    if (!S_ISLNK(tree.node(child).mode) || (is_last && last == LastSymlink::kKeep)) {
      // "file/" is no file.
      if (!is_last && !S_ISDIR(tree.node(child).mode)) return refuse(ENOTDIR);
      at = child;
      continue;
    }
    if (++symlinks > kMaxSymlinks) return refuse(ELOOP);
    std::string target(tree.symlink_target(child));
    if (target.starts_with('/')) at = tree::kRoot;
    rest = is_last ? target : str_cat(target, "/", rest);
  }
  return at;
}

}  // namespace layerboot::mount
