#include "oci-mount/base/remove_tree.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "oci-mount/base/files.h"
#include "oci-mount/base/tree_position.h"

namespace layerboot {

namespace {

constexpr std::size_t kPieceBytes = 32U << 10U;
/// A directory may be found full again: file systems differ in what a listing shows of names that go
/// meanwhile.
constexpr int kMaxReturns = 16;

/// What is no directory, or an empty one; ENOTEMPTY for another.
Result<void> remove_one(int dir_fd, const char* name) {
  if (::unlinkat(dir_fd, name, 0) == 0) return {};
  if (errno == EISDIR && ::unlinkat(dir_fd, name, AT_REMOVEDIR) == 0) return {};
  return fail(errno == EEXIST ? ENOTEMPTY : errno);
}

class TreeRemoval {
 public:
  explicit TreeRemoval(UniqueFd top) : at_(std::move(top)) {}

  /// All that is in the directory.
  Result<void> run() {
    for (;;) {
      if (names_.empty()) LB_TRY(list());
      if (names_.empty()) {
        if (levels_.empty()) return {};
        LB_TRY(leave());
        continue;
      }
      const std::string name = std::move(names_.back());
      names_.pop_back();
      LB_TRY(remove(name));
    }
  }

 private:
  struct Level {
    std::string name;                // of the directory below
    std::vector<std::string> names;  // what is known of the rest
    int returns = 0;
  };

  /// The next piece of the listing; nothing at its end.
  Result<void> list() {
    alignas(dirent64) std::array<std::byte, kPieceBytes> piece;
    while (names_.empty()) {
      const ssize_t got = ::getdents64(at_.fd(), piece.data(), piece.size());
      if (got < 0) return fail(errno);
      if (got == 0) return {};
      for (std::size_t at = 0; at < static_cast<std::size_t>(got);) {
        const auto* const entry = reinterpret_cast<const dirent64*>(piece.data() + at);
        const std::string_view name(entry->d_name);
        if (name != "." && name != "..") names_.emplace_back(name);
        at += entry->d_reclen;
      }
    }
    return {};
  }

  Result<void> remove(const std::string& name) {
    auto removed = remove_one(at_.fd(), name.c_str());
    if (!removed && removed.error().code == EACCES && ::fchmod(at_.fd(), kOurs) == 0)
      removed = remove_one(at_.fd(), name.c_str());
    if (removed || removed.error().code == ENOENT) return {};
    return removed.error().code == ENOTEMPTY ? enter(name) : removed;
  }

  Result<void> enter(const std::string& name) {
    LB_TRY(at_.enter(name.c_str(), true));
    levels_.push_back({name, std::move(names_)});
    names_.clear();
    return {};
  }

  Result<void> leave() {
    LB_TRY(at_.leave());
    Level& level = levels_.back();
    auto removed = remove_one(at_.fd(), level.name.c_str());
    if (!removed && removed.error().code == ENOTEMPTY && ++level.returns < kMaxReturns)
      return at_.enter(level.name.c_str(), true);
    if (!removed && removed.error().code != ENOENT) return removed;
    names_ = std::move(level.names);
    levels_.pop_back();
    return {};
  }

  TreePosition at_;
  std::vector<std::string> names_;  // in it, still to be removed
  std::vector<Level> levels_;       // above it
};

}  // namespace

Result<void> remove_tree_at(int dir_fd, const char* name) {
  for (int returns = 0;; ++returns) {
    // An empty directory need not be one that we may open: overlayfs leaves work/work with mode 0.
    auto removed = remove_one(dir_fd, name);
    if (removed || removed.error().code != ENOTEMPTY || returns == kMaxReturns) return removed;
    LB_ASSIGN(UniqueFd top, open_directory_to_walk(dir_fd, name, true));
    LB_TRY(TreeRemoval(std::move(top)).run());
  }
}

Result<void> remove_tree(const std::filesystem::path& path) {
  const auto whole = path.has_filename() ? path : path.parent_path();  // of one that ends with a slash
  const std::filesystem::path above = whole.parent_path().empty() ? "." : whole.parent_path();
  const UniqueFd directory(::open(above.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!directory && errno == ENOENT) return {};
  if (!directory) return errno_error("cannot open ", above.string());
  auto removed = remove_tree_at(directory.get(), whole.filename().c_str());
  if (removed || removed.error().code == ENOENT) return {};
  return while_doing(removed.error(), "cannot remove ", path.string());
}

}  // namespace layerboot
