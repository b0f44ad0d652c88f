#include "launcher/host/foreign_tree.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>

#include "oci-mount/base/mode_bits.h"
#include "oci-mount/base/path_rules.h"
#include "oci-mount/base/printable.h"

namespace layerboot::launcher {

namespace {

constexpr unsigned kNamesTried = 100;

/// A directory below `folder`, by no symlink.
Result<UniqueFd> open_directory(int folder, const std::string& path, int flags) {
  auto opened =
      open_beneath(folder, path.empty() ? "." : path.c_str(), flags | O_DIRECTORY, 0, OtherMounts::kEntered);
  if (opened) return opened;
  if (opened.error().code == ELOOP || opened.error().code == ENOTDIR)
    return fail(ENOTDIR, "what it is to lie in is no directory, or a symlink, which is not followed");
  return while_doing(opened.error(), "what it is to lie in cannot be reached");
}

/// Makes something under a name that nobody has yet, by `make`, which fails with EEXIST where somebody does.
template <typename Make>
Result<std::string> make_beside(const Make& make) {
  static std::atomic<unsigned> count = 0;
  for (unsigned i = 0; i < kNamesTried; ++i) {
    std::string name =
        str_cat(".layerboot-copy.", ::getpid(), '.', count.fetch_add(1, std::memory_order_relaxed));
    if (make(name.c_str())) return name;
    if (errno != EEXIST) break;
  }
  return errno_error("cannot be made");
}

Result<void> give_name(int directory, const std::string& beside, const std::string& name) {
  if (::renameat(directory, beside.c_str(), directory, name.c_str()) == 0) return {};
  if (errno == EISDIR) return fail(EISDIR, "a directory of this name is there");
  return errno_error("cannot be named");
}

timespec mtime_of(const ForeignAttributes& attributes) {
  return {.tv_sec = static_cast<time_t>(attributes.mtime_sec),
          .tv_nsec = static_cast<long>(attributes.mtime_nsec)};
}

Result<void> set_attributes(int fd, const ForeignAttributes& attributes, std::uint32_t allowed_bits) {
  Result<void> owned;
  if (attributes.owner && ::fchown(fd, attributes.owner->first, attributes.owner->second) != 0) {
    owned = errno_error("cannot be given to user ", attributes.owner->first, " and group ",
                        attributes.owner->second);
  }
  // After its owner: who has it is to have no more than this.
  if (::fchmod(fd, attributes.mode & allowed_bits) != 0) return errno_error("cannot have its mode");
  const timespec times[2] = {{.tv_sec = 0, .tv_nsec = UTIME_OMIT}, mtime_of(attributes)};
  if (::futimens(fd, times) != 0) return errno_error("cannot have its time");
  return owned;
}

bool is_below(std::string_view path, std::string_view directory) {
  return path.size() > directory.size() && path.starts_with(directory) && path[directory.size()] == '/';
}

}  // namespace

ForeignFile::ForeignFile(std::shared_ptr<const UniqueFd> directory, std::string beside, std::string name,
                         UniqueFd fd)
    : directory_(std::move(directory)),
      beside_(std::move(beside)),
      name_(std::move(name)),
      fd_(std::move(fd)),
      appender_(fd_.get(), "it") {}

ForeignFile::ForeignFile(ForeignFile&& other) noexcept
    : directory_(std::move(other.directory_)),
      beside_(std::exchange(other.beside_, {})),
      name_(std::move(other.name_)),
      fd_(std::move(other.fd_)),
      appender_(std::move(other.appender_)) {}

ForeignFile::~ForeignFile() {
  if (!beside_.empty()) ::unlinkat(directory_->get(), beside_.c_str(), 0);
}

Result<void> ForeignFile::commit(const ForeignAttributes& attributes) {
  const auto attributed = set_attributes(fd_.get(), attributes, kAccessBits);
  LB_TRY(give_name(directory_->get(), beside_, name_));
  beside_.clear();
  return attributed;
}

Result<ForeignTree> ForeignTree::open(const std::filesystem::path& folder) {
  LB_ASSIGN(UniqueFd fd, open_path(folder, O_PATH | O_DIRECTORY));
  return ForeignTree(std::move(fd));
}

Result<std::shared_ptr<const UniqueFd>> ForeignTree::directory_of(const std::string& path) {
  const std::string parent(parent_path(path));
  if (last_directory_ && parent == last_path_) return last_directory_;
  LB_ASSIGN(UniqueFd fd, open_directory(folder_->get(), parent, O_PATH));
  last_directory_ = std::make_shared<const UniqueFd>(std::move(fd));
  last_path_ = parent;
  return last_directory_;
}

void ForeignTree::leave_for(const std::string& path) {
  while (!new_directories_.empty() && !is_below(path, new_directories_.back().path)) {
    const NewDirectory done = std::move(new_directories_.back());
    new_directories_.pop_back();
    const auto fd = open_directory(folder_->get(), done.path, O_RDONLY);
    const auto set = fd ? set_attributes(fd->get(), done.attributes, kAccessBits | S_ISVTX)
                        : Result<void>(std::unexpected(fd.error()));
    if (!set && directories_) directories_ = while_doing(set.error(), printable(done.path));
  }
}

Result<void> ForeignTree::add_directory(const std::string& path, const ForeignAttributes& attributes) {
  leave_for(path);
  LB_ASSIGN(const auto directory, directory_of(path));
  if (::mkdirat(directory->get(), std::string(last_component(path)).c_str(), 0700) == 0) {
    new_directories_.push_back({path, attributes});
    return {};
  }
  if (errno != EEXIST) return errno_error("cannot be made");
  if (open_directory(folder_->get(), path, O_PATH)) return {};
  return fail(ENOTDIR, "what has its name here is no directory, or a symlink, which is not followed");
}

Result<void> ForeignTree::add_symlink(const std::string& path, const std::string& target,
                                      const ForeignAttributes& attributes) {
  leave_for(path);
  LB_ASSIGN(const auto directory, directory_of(path));
  const int at = directory->get();
  LB_ASSIGN(const std::string beside,
            make_beside([&](const char* name) { return ::symlinkat(target.c_str(), at, name) == 0; }));
  Result<void> owned;
  if (attributes.owner && ::fchownat(at, beside.c_str(), attributes.owner->first, attributes.owner->second,
                                     AT_SYMLINK_NOFOLLOW) != 0) {
    owned = errno_error("cannot be given to user ", attributes.owner->first, " and group ",
                        attributes.owner->second);
  }
  const timespec times[2] = {{.tv_sec = 0, .tv_nsec = UTIME_OMIT}, mtime_of(attributes)};
  ::utimensat(at, beside.c_str(), times, AT_SYMLINK_NOFOLLOW);
  if (auto named = give_name(at, beside, std::string(last_component(path))); !named) {
    ::unlinkat(at, beside.c_str(), 0);
    return named;
  }
  return owned;
}

Result<ForeignFile> ForeignTree::begin_file(const std::string& path) {
  leave_for(path);
  LB_ASSIGN(auto directory, directory_of(path));
  UniqueFd fd;
  LB_ASSIGN(std::string beside, make_beside([&](const char* name) {
              fd = UniqueFd(::openat(directory->get(), name,
                                     O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
              return static_cast<bool>(fd);
            }));
  return ForeignFile(std::move(directory), std::move(beside), std::string(last_component(path)),
                     std::move(fd));
}

Result<void> ForeignTree::finish() {
  leave_for({});
  return directories_;
}

}  // namespace layerboot::launcher
