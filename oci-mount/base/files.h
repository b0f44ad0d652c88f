// Small things every floor does with files.
#pragma once

#include <fcntl.h>
#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>

#include "oci-mount/base/result.h"
#include "oci-mount/base/unique_fd.h"

namespace layerboot {

/// openat(2) with O_CLOEXEC; the error names `path`.
Result<UniqueFd> open_at(int dir_fd, const std::string& path, int flags, mode_t mode = 0);
inline Result<UniqueFd> open_path(const std::filesystem::path& path, int flags, mode_t mode = 0);

/// openat2(2) with O_CLOEXEC and `resolve`, RESOLVE_…; vfsd's sandbox allows no other way to open. The error
/// is the bare number: what it failed on may be a guest's business.
Result<UniqueFd> open_resolving(int dir_fd, const char* path, int flags, std::uint64_t resolve,
                                mode_t mode = 0);

enum class OtherMounts { kRefused, kEntered };
/// open_resolving() of what is below `dir_fd`, or of itself as ".": follows no symlink, on the way or at the
/// end, and never leads out of it.
Result<UniqueFd> open_beneath(int dir_fd, const char* path, int flags, mode_t mode = 0,
                              OtherMounts other_mounts = OtherMounts::kRefused);

/// Opens for reading what this program once wrote, to be believed: a regular file, by no symlink. ESTALE
/// where somebody else could have written it: anyone but us, root, and whom its directory belongs to, whom
/// the user trusts who named that directory.
Result<UniqueFd> open_trusted(const std::filesystem::path& path);

/// By which calls that take paths alone reach what `fd` is open on.
[[nodiscard]] std::string descriptor_path(int fd);

/// The whole of a small file; E2BIG when it is larger than `max_bytes`.
Result<std::string> read_file(const std::filesystem::path& path, std::size_t max_bytes);
Result<std::string> read_all(int fd, std::size_t max_bytes);

/// write(2) until all is written, wherever the descriptor is. Bare errors.
Result<void> write_next(int fd, std::span<const std::byte> bytes);
/// pwrite(2) until all is written.
Result<void> write_all(int fd, std::span<const std::byte> bytes, std::uint64_t offset);

/// mkdir -p with `mode` for what is made, whose names are durable then.
Result<void> make_directories(const std::filesystem::path& path, mode_t mode = 0755);
/// The same of what is for its owner alone, as it may tell of private images: indexes, the local store. The
/// directories above it are as any other's.
Result<void> make_private_directory(const std::filesystem::path& path);

/// That nobody but this process's user and root can put anything into the directory, which is reached by no
/// symlink at its end: EPERM says what it is instead. ENOENT, bare, where nothing is there.
Result<void> check_own_directory(const std::filesystem::path& path);

/// Makes the names in a directory durable. fsync(2) of a file promises only what is in it: where the host's
/// journal takes its name along that is the host's kindness.
Result<void> sync_directory(const std::filesystem::path& path);

/// rename(2), durable. What `from` is must have been synced before, else a power cut may leave the new name
/// on something empty. Both on one file system.
Result<void> rename_durably(const std::filesystem::path& from, const std::filesystem::path& to);

/// Writes a file from its beginning on. The descriptor is lent, and the file empty.
class FileAppender {
 public:
  FileAppender(int fd, std::string name) : to_(fd), name_(std::move(name)) {}

  /// Appends at the end of what was appended before.
  Result<void> append(std::span<const std::byte> bytes);
  /// Makes the file empty.
  Result<void> restart();
  /// `into.size()` bytes of what was appended, from `offset` on. REQUIRES: they are there.
  Result<void> read_back(std::uint64_t offset, std::span<std::byte> into) const;
  [[nodiscard]] std::uint64_t size_bytes() const { return size_bytes_; }
  [[nodiscard]] int fd() const { return to_; }

 protected:
  int to_;

 private:
  std::string name_;  // for messages
  std::uint64_t size_bytes_ = 0;
};

/// A file that appears whole or not at all: written nameless (O_TMPFILE), then fsynced and given
/// its name. Left uncommitted, nothing remains, whatever happens to the process. Where the file system has no
/// nameless files (NFS, 9p, FUSE) it is written beside its place as NAME.PID.N.new, which only a crash
/// leaves.
class AtomicFile : public FileAppender {
 public:
  enum class Way { kNamelessIfAble, kNamed };
  /// `path`'s directory must exist, and be readable. `way` is for tests.
  static Result<AtomicFile> create(const std::filesystem::path& path, mode_t mode = 0644,
                                   Way way = Way::kNamelessIfAble);
  AtomicFile(AtomicFile&& other) noexcept = default;
  AtomicFile& operator=(AtomicFile&& other) noexcept;
  ~AtomicFile();

  /// Makes the file visible, replacing what has the name, and both it and its name durable. Call once. After
  /// an error the name leads to the old file or to the new.
  Result<void> commit();

 private:
  AtomicFile(std::filesystem::path path, UniqueFd directory)
      : FileAppender(-1, path.string()), path_(std::move(path)), directory_(std::move(directory)) {}
  Result<void> give_name();
  void discard();

  std::filesystem::path path_;
  UniqueFd directory_;
  UniqueFd fd_;
  std::string beside_;  // its name until it is committed; empty while it has none
};

/// A small file as an AtomicFile.
Result<void> write_whole_file(const std::filesystem::path& path, std::string_view text, mode_t mode = 0644);

inline Result<UniqueFd> open_path(const std::filesystem::path& path, int flags, mode_t mode) {
  return open_at(AT_FDCWD, path.string(), flags, mode);
}

}  // namespace layerboot
