#include "launcher/kernel/kernel_copy.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <optional>
#include <system_error>
#include <utility>

#include "launcher/host/foreign_tree.h"
#include "launcher/host/run_tool.h"
#include "oci-mount/base/files.h"
#include "oci-mount/base/mode_bits.h"
#include "oci-mount/base/path_rules.h"
#include "oci-mount/base/printable.h"

namespace layerboot::launcher {

namespace {

namespace fs = std::filesystem;

constexpr std::uint32_t kReadableByAll = 0444;
constexpr std::size_t kPieceBytes = std::size_t{256} << 10;

std::string shown(const fs::path& path) { return printable(path.string()); }

/// What we can't read, depmod could not either.
ForeignAttributes attributes_of(const struct stat& st, unsigned user) {
  const std::uint32_t needed = S_ISDIR(st.st_mode) ? S_IRWXU : S_IRUSR;
  return {.mode = (st.st_mode & kAccessBits) | needed,
          .owner = user == 0 ? std::nullopt : std::optional(std::pair(user, user)),
          .mtime_sec = st.st_mtim.tv_sec,
          .mtime_nsec = static_cast<std::uint32_t>(st.st_mtim.tv_nsec)};
}

/// Copies into one ForeignTree, and counts.
class Copying {
 public:
  Copying(fs::path from, UniqueFd top, ForeignTree tree, unsigned user)
      : from_(std::move(from)), top_(std::move(top)), tree_(std::move(tree)), user_(user) {}

  /// `name`: of what is made of it.
  Result<std::vector<std::string>> all(const std::string& name, const std::vector<std::string>& unwanted) {
    LB_TRY(directory({}, name, &unwanted, 0));
    LB_TRY(tree_.finish());
    return std::move(left_out_);
  }

  Result<void> file(const fs::path& path, const std::string& to, std::uint32_t more_rights = 0) {
    // No fifo holds us up, and no device is opened: it was looked at before.
    LB_ASSIGN(const UniqueFd fd, open_path(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK));
    struct stat st{};
    if (::fstat(fd.get(), &st) != 0) return errno_error(shown(path));
    if (!S_ISREG(st.st_mode)) return fail(EINVAL, shown(path), " is no file");
    auto made = tree_.begin_file(to);
    if (!made) return while_doing(made.error(), "the copy of ", shown(path));
    for (;;) {
      LB_TRY(InterruptScope::check());
      const ssize_t got = ::read(fd.get(), piece_.data(), piece_.size());
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) return errno_error("cannot read ", shown(path));
      if (got == 0) break;
      size_bytes_ += static_cast<std::uint64_t>(got);
      if (size_bytes_ > kMaxKernelTreeBytes)
        return fail(E2BIG, shown(from_), " has more than ", kMaxKernelTreeBytes >> 30U,
                    " GiB in files, which no kernel has");
      LB_TRY(made->append(std::span(piece_).first(static_cast<std::size_t>(got))));
    }
    ForeignAttributes attributes = attributes_of(st, user_);
    attributes.mode |= more_rights;
    const auto done = made->commit(attributes);
    if (!done) return while_doing(done.error(), "the copy of ", shown(path));
    return {};
  }

 private:
  /// `path` is the directory's in `from_`.
  Result<void> directory(const fs::path& path, const std::string& to,
                         const std::vector<std::string>* unwanted, unsigned depth) {
    if (depth > kMaxKernelTreeDepth)
      return fail(E2BIG, shown(from_ / path), " lies deeper than anything of a kernel's");
    struct stat st{};
    const fs::path whole = path.empty() ? from_ : from_ / path;
    if (::lstat(whole.c_str(), &st) != 0) return errno_error(shown(whole));
    LB_TRY(check_path(to));
    LB_TRY(tree_.add_directory(to, attributes_of(st, user_)));
    std::error_code error;
    for (fs::directory_iterator entry(whole, error), end; !error && entry != end; entry.increment(error)) {
      const std::string name = entry->path().filename().string();
      const bool is_unwanted = unwanted != nullptr && std::ranges::find(*unwanted, name) != unwanted->end();
      LB_TRY(object(path / name, str_cat(to, '/', name), is_unwanted, depth + 1));
    }
    if (error) return fail(error.value(), "cannot read ", shown(whole), ": ", error.message());
    return {};
  }

  Result<void> object(const fs::path& path, const std::string& to, bool is_unwanted, unsigned depth) {
    LB_TRY(InterruptScope::check());
    if (++objects_ > kMaxKernelObjects)
      return fail(E2BIG, shown(from_), " has more than ", kMaxKernelObjects, " objects, which no kernel has");
    const fs::path whole = from_ / path;
    struct stat st{};
    if (::lstat(whole.c_str(), &st) != 0) return errno_error(shown(whole));
    if (S_ISDIR(st.st_mode)) return directory(path, to, nullptr, depth);
    if (is_unwanted) return {};
    LB_TRY(check_path(to));
    if (S_ISREG(st.st_mode)) return file(whole, to);
    if (S_ISLNK(st.st_mode) && leads_to_file(path)) {
      std::error_code error;
      const std::string target = fs::read_symlink(whole, error).string();
      if (error) return fail(error.value(), shown(whole), ": ", error.message());
      return tree_.add_symlink(to, target, attributes_of(st, user_));
    }
    left_out_.push_back(path.string());
    return {};
  }

  /// In the tree, and by no way out of it. A cycle leads nowhere.
  bool leads_to_file(const fs::path& path) const {
    const auto end =
        open_resolving(top_.get(), path.c_str(), O_PATH, RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS);
    struct stat st{};
    return end && ::fstat(end->get(), &st) == 0 && S_ISREG(st.st_mode);
  }

  fs::path from_;
  UniqueFd top_;
  ForeignTree tree_;
  unsigned user_;
  std::vector<std::string> left_out_;
  std::size_t objects_ = 0;
  std::uint64_t size_bytes_ = 0;
  std::vector<std::byte> piece_ = std::vector<std::byte>(kPieceBytes);
};

}  // namespace

Result<std::vector<std::string>> copy_kernel_tree(const fs::path& from, const fs::path& to,
                                                  const std::vector<std::string>& unwanted, unsigned user) {
  LB_ASSIGN(UniqueFd top, open_path(from, O_PATH | O_DIRECTORY | O_NOFOLLOW));
  LB_ASSIGN(ForeignTree tree, ForeignTree::open(to.parent_path()));
  return Copying(from, std::move(top), std::move(tree), user).all(to.filename().string(), unwanted);
}

Result<void> copy_kernel_file(const fs::path& from, const fs::path& to) {
  std::error_code ignored;
  if (!fs::is_regular_file(fs::symlink_status(from, ignored)))
    return fail(EINVAL, shown(from), " is no file");
  LB_ASSIGN(ForeignTree tree, ForeignTree::open(to.parent_path()));
  return Copying(from, UniqueFd(), std::move(tree), 0).file(from, to.filename().string(), kReadableByAll);
}

}  // namespace layerboot::launcher
