#include "launcher/host/put_in_place.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "oci-mount/base/file_lock.h"
#include "oci-mount/base/files.h"
#include "oci-mount/base/mapping.h"

namespace layerboot::launcher {

namespace {

namespace fs = std::filesystem;

/// Not every file system can rename without replacing (NFS), nor has each of them links (FAT).
bool move_to_free_name(const fs::path& from, const fs::path& to) {
  if (::renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), RENAME_NOREPLACE) == 0) return true;
  if (errno != EINVAL && errno != ENOSYS) return false;
  if (::link(from.c_str(), to.c_str()) == 0) {
    ::unlink(from.c_str());
    return true;
  }
  if (errno != EPERM && errno != EOPNOTSUPP) return false;
  struct stat st{};
  if (::lstat(to.c_str(), &st) == 0) {
    errno = EEXIST;
    return false;
  }
  return ::rename(from.c_str(), to.c_str()) == 0;
}

struct Placed {
  fs::path path;
  UniqueFd file;
};

Result<void> place(const fs::path& made, const fs::path& to, bool shared, std::vector<Placed>& placed) {
  LB_ASSIGN(UniqueFd file, open_path(made, O_RDONLY));
  if (::fchmod(file.get(), 0644) != 0) return errno_error(made.string());
  if (::fsync(file.get()) != 0) return errno_error("cannot sync ", made.string());
  if (move_to_free_name(made, to)) {
    if (!shared) placed.push_back({to, std::move(file)});
    return {};
  }
  if (errno != EEXIST) return errno_error("cannot put ", to.string(), " in place");
  if (shared) return check_same_file(to, made);
  return fail(EEXIST, to.string(), " is there already: somebody was faster");
}

}  // namespace

Result<void> check_same_file(const fs::path& there, const fs::path& made) {
  const auto other = [&] {
    return fail(EEXIST, there.string(), " is there already, and is not what its name says: remove it");
  };
  // O_NONBLOCK: a fifo in its place must not hold us up.
  const UniqueFd file(::open(there.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
  if (!file && errno != ELOOP) return errno_error("cannot read ", there.string());
  struct stat st{};
  if (!file || ::fstat(file.get(), &st) != 0 || !S_ISREG(st.st_mode)) return other();
  LB_ASSIGN(const UniqueFd made_file, open_path(made, O_RDONLY));
  LB_ASSIGN(const Mapping wanted, Mapping::read_only(made_file.get()));
  if (static_cast<std::uint64_t>(st.st_size) != wanted.bytes().size()) return other();
  // Not mapped: whoever cut it short meanwhile would end us.
  std::vector<std::byte> piece(std::size_t{1} << 20);
  for (auto rest = wanted.bytes(); !rest.empty();) {
    const ssize_t got = ::read(file.get(), piece.data(), std::min(piece.size(), rest.size()));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return errno_error("cannot read ", there.string());
    const auto head = rest.first(static_cast<std::size_t>(got));
    if (got == 0 || !std::equal(head.begin(), head.end(), piece.begin())) return other();
    rest = rest.subspan(head.size());
  }
  return {};
}

Result<void> put_in_place(const fs::path& work, const fs::path& out, const std::vector<MadeFile>& files) {
  std::vector<Placed> placed;
  Result<void> done;
  for (const MadeFile& file : files) {
    if (done) done = place(work / file.name, out / file.name, file.shared, placed);
  }
  if (done) done = sync_directory(out);
  if (done) return {};
  for (const Placed& one : placed) {
    if (is_still_at(one.file.get(), one.path)) ::unlink(one.path.c_str());
  }
  return done;
}

}  // namespace layerboot::launcher
