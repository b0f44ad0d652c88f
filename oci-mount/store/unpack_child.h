// Unpacking a compressed archive in a child process (base/walled_child.h): four decoders that were made for
// friendlier bytes. The child gets the archive for reading and the file to fill.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>

#include "oci-mount/base/result.h"
#include "oci-mount/store/blob.h"
#include "oci-mount/store/oci_json.h"

namespace layerboot::store {

/// What main() begins with in each program that opens archives. In a child it does the child's work, and
/// gives the exit code to end with; else nothing. Without threads.
std::optional<int> run_as_unpack_child(int argc, const char* const* argv);

/// Fills the empty file `fd` with what `archive` unpacks to, in a child; in this process where main() does
/// not begin so: a test's. `on_progress` is told how many bytes of the archive are done. Errors do not name
/// the archive; see open_archive().
Result<void> unpack_into(const FileBlob& archive, Compression compression, int fd,
                         const std::function<void(std::uint64_t)>& on_progress);

}  // namespace layerboot::store
