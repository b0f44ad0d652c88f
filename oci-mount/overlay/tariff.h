// What an object of the upper is charged: what the host's free space falls by, or a bound above it. Pure
// functions of what stat(2) says and of the size of the attributes, so that a session and the survey of the
// next start come to the same figures. Measured; the table is in DESIGN.md.
#pragma once

#include <sys/stat.h>

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "oci-mount/base/result.h"
#include "oci-mount/overlay/upper_calls.h"

namespace layerboot::overlay {

/// How a host keeps books. Told apart by statfs(2)'s f_type.
enum class HostKind : std::uint8_t {
  kExt4,   // ext2 to ext4: st_blocks tells all; inodes are there from mkfs on
  kXfs,    // st_blocks tells all but the inodes
  kBtrfs,  // st_blocks tells of data alone; all else lies in trees that are kept twice
  kTmpfs,  // memory: names, inodes and attributes are charged as the kernel itself counts them
  kOther,  // nothing is known of it: a bound is guessed
};
[[nodiscard]] HostKind host_kind(long f_type);
/// kOther where the host does not say.
[[nodiscard]] HostKind host_kind_of(int fd);

/// What a data block of any of these hosts takes.
inline constexpr std::uint64_t kHostBlockBytes = 4096;

/// All figures are bytes. A value; thread-safe.
class Tariff {
 public:
  /// What a file system was made with.
  struct Sizes {
    std::uint64_t block_bytes = kHostBlockBytes;  // of which it allocates late
    std::uint64_t unit_bytes = block_bytes;       // allocated at once: more than a block on ext4's bigalloc
    std::uint64_t inode_bytes = 512;              // XFS
  };
  constexpr explicit Tariff(HostKind kind) : Tariff(kind, Sizes{}) {}
  constexpr Tariff(HostKind kind, Sizes sizes) : kind_(kind), sizes_(sizes) {}
  [[nodiscard]] constexpr HostKind kind() const { return kind_; }

  /// An object as stat(2) shows it, with all its names and what its directory entries take, but without what
  /// the attributes take that attribute() charges.
  [[nodiscard]] std::uint64_t object(const struct stat& st) const;
  /// As object(), of the upper's own root: two blocks are free, one of names and one of attributes.
  [[nodiscard]] std::uint64_t root(const struct stat& st) const;
  /// One extended attribute, where st_blocks does not tell of it.
  [[nodiscard]] std::uint64_t attribute(std::string_view name, std::size_t value_bytes) const;
  /// Whether attribute() is ever more than nothing: attributes have to be listed.
  [[nodiscard]] constexpr bool counts_attributes() const {
    return kind_ != HostKind::kExt4 && kind_ != HostKind::kXfs;
  }
  /// A whiteout: a link of an inode that is charged to nobody.
  [[nodiscard]] std::uint64_t whiteout() const;
  /// By how much object() of a directory grows with a name in it, where that is known without asking.
  [[nodiscard]] std::uint64_t name_in_directory(std::size_t name_bytes) const;

  // ---- what has to be left before something is begun; never less than what it is charged then
  /// A further name of anything: its directory may grow by a block for it.
  [[nodiscard]] std::uint64_t for_name(std::size_t name_bytes) const;
  /// A new object without data, or a symlink to a target of `target_bytes`, and its name.
  [[nodiscard]] std::uint64_t for_object(std::size_t name_bytes, std::size_t target_bytes = 0) const;
  [[nodiscard]] std::uint64_t for_attribute(std::string_view name, std::size_t value_bytes) const;
  /// `allocated_bytes` of data, whole blocks.
  [[nodiscard]] std::uint64_t for_data(std::uint64_t allocated_bytes) const;

  /// Whether what is cut off a file, or punched out of it, may stay allocated for as long as a byte that was
  /// written with it is left: the file is charged for it until it is empty.
  [[nodiscard]] constexpr bool keeps_what_is_cut() const { return kind_ == HostKind::kBtrfs; }
  /// Whether writes over allocated bytes of a file take space, unless the file is marked to be written in
  /// place.
  [[nodiscard]] constexpr bool copies_on_write() const { return kind_ == HostKind::kBtrfs; }
  /// Whether fsync(2) of a directory may make names durable without the attributes and the size of the
  /// objects that they lead to (btrfs: LOG_INODE_EXISTS in fs/btrfs/tree-log.c).
  [[nodiscard]] constexpr bool syncs_names_alone() const {
    return kind_ == HostKind::kBtrfs || kind_ == HostKind::kOther;
  }
  /// Whether the host allocates ahead of a file that grows, beyond its end, and gives it back when told so.
  [[nodiscard]] constexpr bool allocates_ahead() const { return kind_ == HostKind::kXfs; }

  /// Whether what st_blocks shows of a file with so many allocated bytes may be another figure once the host
  /// has written it back.
  [[nodiscard]] bool changes_late(std::uint64_t allocated_bytes) const;
  /// What such a file may take beyond object() then: blocks for its tree of extents. As hosts write back,
  /// from its start to its end.
  [[nodiscard]] std::uint64_t late_growth(std::uint64_t allocated_bytes) const;

 private:
  [[nodiscard]] std::uint64_t directory_growth() const;

  HostKind kind_;
  Sizes sizes_;
};

/// Of the file system that the directory is on. As long as it is small, it tells of what ext4 allocates at
/// once. XFS is asked for its geometry, for which a daemon's sandbox has no call.
[[nodiscard]] Tariff tariff_of(int directory_fd);

/// What attribute() charges for all attributes of an object; asks the host only where the tariff counts them.
/// The record of what the guest sees of an object is charged as one of a fixed size, so that changes of it
/// are none of the charge.
Result<std::uint64_t> charge_of_attributes(const Tariff& tariff, Place place);
/// The same of an object that has no other attribute than that record.
[[nodiscard]] std::uint64_t charge_of_record(const Tariff& tariff);

}  // namespace layerboot::overlay
