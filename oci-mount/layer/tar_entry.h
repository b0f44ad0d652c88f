// What a tar's headers mean as an entry of a layer: names, kinds, whiteouts, limits. Pure.
//
// Follows the OCI image spec, layer.md ("Whiteouts", "Opaque Whiteout"); where runtimes differ, FORMAT.md has
// our rule.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "oci-mount/base/result.h"
#include "oci-mount/layer/entry.h"
#include "oci-mount/store/tar_header.h"

namespace layerboot::layer {

using store::TarHeader;

/// An entry that owns what EntryView only sees.
struct TarEntry {
  std::string path;
  EntryType type = EntryType::kFile;
  std::uint32_t mode = 0;
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
  std::int64_t mtime_sec = 0;
  std::uint32_t mtime_nsec = 0;
  std::uint32_t rdev_major = 0;
  std::uint32_t rdev_minor = 0;
  std::uint64_t size_bytes = 0;
  std::string link;
  /// It is no part of the image, but hard links may be to it (aufs kept files under /.wh..wh.plnk).
  bool hidden = false;
  std::vector<Extent> extents;
  std::vector<std::pair<std::string, std::string>> xattrs;
};

/// A name made clean and relative, ".." held at the root, as EntryView has it; EINVAL with the limit it
/// breaks.
Result<std::string> clean_path(std::string_view name);

/// How many bytes of data follow a header of this kind: nothing follows a link, a device or a directory,
/// whatever its size says.
Result<std::uint64_t> data_bytes(const TarHeader& header);

/// The entry that `header` (all extensions applied) stands for, its data at `stream_offset`; hidden, or
/// nothing, for what an image cannot have (names that begin with .wh..wh.). EINVAL for what breaks a rule or
/// a limit, naming it.
Result<std::optional<TarEntry>> make_entry(const TarHeader& header,
                                           std::vector<std::pair<std::string, std::string>> xattrs,
                                           std::uint64_t stream_offset);

}  // namespace layerboot::layer
