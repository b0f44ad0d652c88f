// The layer index as a file: its parts put together, and taken apart again. FORMAT.md describes it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "oci-mount/base/files.h"
#include "oci-mount/base/result.h"
#include "oci-mount/layer/checkpoint_table.h"
#include "oci-mount/layer/entry_table.h"
#include "oci-mount/layer/entry_table_builder.h"
#include "oci-mount/layer/index_format.h"

namespace layerboot::layer {

/// Writes the whole index into `file`, which the caller commits. `header` says what the layer is; the counts
/// and sizes of the parts are filled in here. `source` is where a local file or directory lies, so that what
/// is kept of one that is gone can be found; "" for a blob of an image. `scratch`: as Spilled has it.
Result<void> write_index(FileAppender& file, IndexHeader header, const CheckpointTableBuilder& checkpoints,
                         const BuiltEntryTable& entries, std::string_view source,
                         FileAppender* scratch = nullptr);

/// An index's parts, as views of its bytes.
struct IndexParts {
  IndexHeader header;
  std::span<const CheckpointRecord> checkpoints;
  std::span<const std::byte> windows;
  std::span<const std::byte> packed_entries;
  std::string_view source;
};

/// ESTALE for another version, EBADMSG for what is damaged or no index. Pure. `bytes` begin on an 8-byte
/// boundary.
Result<IndexParts> parse_index_file(std::span<const std::byte> bytes);

/// Unpacks and checks the entries of a parsed index.
Result<EntryTable> unpack_entries(const IndexHeader& header, std::span<const std::byte> packed);

}  // namespace layerboot::layer
