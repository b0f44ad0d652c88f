// One random operation, done on two file systems: ours, and a directory of the host's as the oracle.
//
// An Operation says what a program asks of the kernel; a Side does it and tells what the program would see.
// What the client of ours (Linux's FUSE) does itself is in our Side, and nothing else is
// (differential_ours.cc).
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "oci-mount/base/result.h"
#include "oci-mount/vfs/types.h"

namespace layerboot::test {

/// Who asks: root, or somebody whom the client's kernel has found to be allowed to.
struct Actor {
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
  std::optional<std::uint32_t> also_in = std::nullopt;
  std::uint32_t umask = 022;

  [[nodiscard]] bool is_root() const { return uid == 0; }
  [[nodiscard]] bool is_in(std::uint32_t group) const { return gid == group || also_in == group; }
};

enum class Kind : unsigned char {
  kLookup,
  kCreate,  // then `data` written
  kMknod,
  kMkdir,
  kSymlink,
  kLink,
  kUnlink,
  kRmdir,
  kRename,
  kTmpfileLink,
  kRead,
  kWrite,
  kTruncate,
  kChmod,
  kChown,
  kUtimes,
  kSetxattr,
  kRemovexattr,
  kFallocate,
  kSeek,
  kCopyRange,
  kReaddir,
  kHold,  // the object is used by its slot from now on, whatever becomes of its names
};

/// An object: what a slot holds, or else what is at a path ("" is the top, others begin with '/').
struct Spot {
  static constexpr int kNone = -1;
  int slot = kNone;
  std::string path;
};

struct Operation {
  Kind kind = Kind::kLookup;
  Actor actor;
  Spot object;               // of names: the path that is made, removed, or moved
  Spot other;                // of kLink, kRename, kTmpfileLink: the new path; of kCopyRange: where to
  bool is_exclusive = true;  // of kCreate: O_EXCL
  std::uint32_t mode = 0;
  std::uint32_t rdev = 0;
  std::uint32_t flags = 0;  // of renameat2(2), setxattr(2), fallocate(2); whence of lseek(2)
  std::uint64_t offset = 0;
  std::uint64_t to_offset = 0;
  std::uint64_t length = 0;
  std::uint32_t uid = ~0U;  // of kChown: ~0 leaves it
  std::uint32_t gid = ~0U;
  std::optional<vfs::TimeChange> atime;
  std::optional<vfs::TimeChange> mtime;
  std::string name;  // of an attribute
  std::string data;

  [[nodiscard]] std::string describe() const;
};

/// What a program sees of an object. Times are told where they are old: what was made or changed in this
/// century's later part shows as "now", so that both sides say the same of a change, whenever it came.
struct View {
  std::uint64_t ino = 0;  // not compared
  std::uint32_t mode = 0;
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
  std::uint32_t nlink = 0;
  std::uint32_t rdev = 0;
  std::uint64_t size_bytes = 0;
  vfs::Time atime;
  vfs::Time mtime;
  std::string content;                                      // or target
  std::vector<std::pair<std::string, std::string>> xattrs;  // sorted

  [[nodiscard]] std::string line() const;
};

/// 0 or an errno; and, where there is one, what the operation tells.
struct Answer {
  int code = 0;
  std::string told;

  friend bool operator==(const Answer&, const Answer&) = default;
};

class Side {
 public:
  static constexpr int kSlots = 24;

  virtual ~Side() = default;
  virtual Answer run(const Operation& operation) = 0;
  /// One line, or "error: N".
  virtual std::string look(const Spot& spot) = 0;
  /// Of a directory, sorted; empty for others.
  virtual std::vector<std::string> names_in(const std::string& path) = 0;
};

/// The oracle. Root's: it takes the identity of each operation's actor, with all capabilities but CAP_FSETID,
/// since the client's kernel has checked permissions before anything comes to a FileSystem.
class HostSide final : public Side {
 public:
  explicit HostSide(const std::string& top);
  ~HostSide() override;
  HostSide(const HostSide&) = delete;
  HostSide& operator=(const HostSide&) = delete;

  Answer run(const Operation& operation) override;
  std::string look(const Spot& spot) override;
  std::vector<std::string> names_in(const std::string& path) override;
  /// Nothing where there is no object; symlinks are not followed.
  [[nodiscard]] std::optional<struct stat> stat_of(const Spot& spot) const;
  void drop_slots();
  [[nodiscard]] bool goes_through_symlink(const std::string& path) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// Ours, driven as Linux's FUSE client would.
class OurSide final : public Side {
 public:
  enum class Client : unsigned char {
    kCold,  // forgets everything after each operation
    kWarm,  // keeps references to what it has seen lately
  };
  OurSide(vfs::FileSystem& fs, Client client);
  ~OurSide() override;
  OurSide(const OurSide&) = delete;
  OurSide& operator=(const OurSide&) = delete;

  Answer run(const Operation& operation) override;
  std::string look(const Spot& spot) override;
  std::vector<std::string> names_in(const std::string& path) override;
  Result<View> view(const Spot& spot);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace layerboot::test
