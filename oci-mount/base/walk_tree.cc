#include "oci-mount/base/walk_tree.h"

#include <dirent.h>
#include <fcntl.h>

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "oci-mount/base/files.h"
#include "oci-mount/base/tree_position.h"

namespace layerboot {

namespace {

using Names = std::vector<std::string>;

/// Gives what is in a directory; the names of the directories among it.
Result<Names> look_at(int dir_fd, dev_t device, const std::function<void(const struct stat&)>& take) {
  LB_ASSIGN(UniqueFd own, open_beneath(dir_fd, ".", O_RDONLY | O_DIRECTORY));
  const std::unique_ptr<DIR, int (*)(DIR*)> stream(::fdopendir(own.get()), &::closedir);
  if (!stream) return fail(errno);
  static_cast<void>(own.release());
  Names directories;
  for (;;) {
    errno = 0;
    const dirent* const entry = ::readdir(stream.get());
    if (entry == nullptr && errno != 0) return fail(errno);
    if (entry == nullptr) return directories;
    const std::string_view name = entry->d_name;
    struct stat st{};
    if (name == "." || name == "..") continue;
    // What is gone by now was never there.
    if (::fstatat(dir_fd, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0) continue;
    take(st);
    if (S_ISDIR(st.st_mode) && st.st_dev == device) directories.emplace_back(name);
  }
}

}  // namespace

Result<void> walk_tree(const std::filesystem::path& top, const std::function<void(const struct stat&)>& take,
                       const std::function<void(int)>& on_error) {
  LB_ASSIGN(UniqueFd fd, open_path(top, O_RDONLY | O_DIRECTORY));
  struct stat st{};
  if (::fstat(fd.get(), &st) != 0) return errno_error("stat of ", top.string());
  TreePosition at(std::move(fd));
  std::vector<Names> levels;  // what is still to be entered in each directory down to `at`
  const auto look_here = [&] {
    auto names = look_at(at.fd(), st.st_dev, take);
    if (!names) on_error(names.error().code);
    levels.push_back(std::move(names).value_or(Names()));
  };
  look_here();
  for (;;) {
    if (levels.back().empty()) {
      levels.pop_back();
      if (levels.empty()) return {};
      if (auto left = at.leave(); !left) return while_doing(left.error(), "walk of ", top.string());
      continue;
    }
    const std::string name = std::move(levels.back().back());
    levels.back().pop_back();
    const auto entered = at.enter(name.c_str());
    if (entered) {
      look_here();
    } else if (entered.error().code != ENOENT && entered.error().code != EXDEV) {
      on_error(entered.error().code);
    }
  }
}

}  // namespace layerboot
