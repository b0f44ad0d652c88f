// One header of a tar, as GNU's tar writes and reads it.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>

namespace guest_init {

inline constexpr std::size_t kTarBlock = 512;

enum class TarKind : char {
  kFile = '0',
  kHardLink = '1',
  kSymlink = '2',
  kCharacterDevice = '3',
  kBlockDevice = '4',
  kDirectory = '5',
  kFifo = '6',
  kLongTarget = 'K',  // what follows is the next entry's target
  kLongName = 'L',    // the same, its name
  // Of our own, out of the letters that POSIX leaves to vendors and no other tar takes: what COPY means.
  kSetDirectory = 'P',  // a directory that is as the entry says though one is there already
  kAttribute = 'Y',     // what follows is the value of an extended attribute of the next other entry
  kFileOrInto = 'F',    // a file; where a directory has its name, it goes into that as `target` is called
};

struct TarEntry {
  TarKind kind = TarKind::kFile;
  std::string name;
  std::string target;  // of links, and of kFileOrInto
  std::uint64_t size_bytes = 0;
  mode_t mode = 0;  // permissions alone
  uid_t uid = 0;
  gid_t gid = 0;
  std::int64_t mtime = 0;  // seconds since 1970
  std::uint32_t major = 0;
  std::uint32_t minor = 0;
};

/// The header, with those before it that long names take: whole blocks. Pure.
[[nodiscard]] std::string encode_tar_entry(const TarEntry& entry);

/// Reads a block. Nothing for one whose checksum is wrong; an entry without a name for the block of zeros at
/// the archive's end. Pure.
[[nodiscard]] std::optional<TarEntry> decode_tar_block(const char (&block)[kTarBlock]);

/// What fills the last block of `size_bytes`.
[[nodiscard]] inline std::size_t tar_padding(std::uint64_t size_bytes) {
  return static_cast<std::size_t>((kTarBlock - size_bytes % kTarBlock) % kTarBlock);
}

}  // namespace guest_init
