// Archives of images, compressed as a whole: `docker save | gzip > x.tar.gz`. Nothing in them can be read
// from the middle, so they are unpacked into the cache, once.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>

#include "oci-mount/base/result.h"
#include "oci-mount/store/tar_archive.h"

namespace layerboot::store {

inline constexpr std::uint64_t kMaxUnpackedBytes = 256ULL << 30U;  // of one archive

/// What to do with an archive that is compressed, and not unpacked yet.
enum class Unpacking : std::uint8_t { kAllowed, kNever };

struct OpenedArchive {
  std::shared_ptr<const TarArchive> tar;
  std::filesystem::path unpacked;  // the file in the cache; empty: the archive is read in place
};

/// The archive `path`. A compressed one (gzip, zstd, xz, bzip2) is found in `cache`, a directory, under what
/// its file is (local_key()); where it is not there it is unpacked: that is announced, blocks, and takes as
/// much disk as it gives, less what is zeroes. The file appears whole or not at all, and only when its
/// checksums are right and it is an archive. One is unpacked at a time: others wait. Errors name the archive:
/// EBADMSG for what is damaged, cut short or no archive, E2BIG beyond kMaxUnpackedBytes, ENOSPC, ENODATA
/// where unpacking is not allowed, EINTR (check_interrupted()).
Result<OpenedArchive> open_archive(const std::filesystem::path& path, const std::filesystem::path& cache,
                                   Unpacking unpacking);

}  // namespace layerboot::store
