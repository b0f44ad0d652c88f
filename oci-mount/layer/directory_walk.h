// A directory on this machine taken down as a layer: one walk over it, at start.
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "oci-mount/base/result.h"
#include "oci-mount/base/unique_fd.h"
#include "oci-mount/layer/entry_table_builder.h"

namespace layerboot::layer {

/// What a file was when it was walked.
struct FileStamp {
  std::uint64_t device = 0;
  std::uint64_t inode = 0;
  std::uint64_t size_bytes = 0;
  std::int64_t mtime_sec = 0;
  std::int64_t mtime_nsec = 0;

  static FileStamp of(const struct stat& st);
  friend bool operator==(const FileStamp&, const FileStamp&) = default;
};

/// A regular file with data. The layer's stream is all of them, one after the other.
struct WalkedFile {
  std::uint64_t stream_offset = 0;
  std::string path;  // relative to the directory
  FileStamp stamp;
};

struct DirectoryWalk {
  BuiltEntryTable entries;
  std::vector<WalkedFile> files;  // by stream_offset
  std::uint64_t stream_size_bytes = 0;
  /// XXH3-128 of the entries, of each file's stamp and of the name: another directory, or a changed one,
  /// gives another.
  std::uint64_t hash_high = 0;
  std::uint64_t hash_low = 0;
};

/// Walks all below `directory`, across mounts. Names are plain there: `.wh.x` is a file. Sockets are left
/// out, as in a tar; so is what vanishes meanwhile, and xattrs that can't be read or that are trusted.*. A
/// directory that can't be read, or an entry over a layer's limits, is an error that names it.
Result<DirectoryWalk> walk_directory(int directory, const std::string& name);

}  // namespace layerboot::layer
