// LayerIndex: what is kept of one layer, mapped read-only from its index file.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>

#include "oci-mount/base/mapping.h"
#include "oci-mount/base/result.h"
#include "oci-mount/layer/checkpoint_table.h"
#include "oci-mount/layer/entry_table.h"
#include "oci-mount/layer/identity.h"
#include "oci-mount/layer/index_file.h"
#include "oci-mount/layer/index_format.h"
#include "oci-mount/store/oci_json.h"

namespace layerboot::layer {

/// Where the recut file of the layer with the index `index_path` lies.
[[nodiscard]] std::filesystem::path recut_path(const std::filesystem::path& index_path);

/// What an index is of.
struct IndexOwner {
  IdentityRecord identity;
  std::string source;  // where a local file or directory lies; "" for a blob of an image
};
/// For who cleans up. Errors as of LayerIndex::open().
Result<IndexOwner> read_index_owner(const std::filesystem::path& path);

/// Immutable and thread-safe.
class LayerIndex {
 public:
  /// Maps the file and checks it: its hash, every size, every checkpoint. EBADMSG when it is damaged, ESTALE
  /// when it is of another version or of another layer than `expected`, or when others could have written it
  /// (open_trusted()): then it is to be built again.
  static Result<LayerIndex> open(const std::filesystem::path& path, const LayerIdentity& expected);
  /// The same of a file that is open, whose name is for messages. `fd` is lent for the call.
  static Result<LayerIndex> of_file(int fd, const std::string& name, const LayerIdentity& expected);

  [[nodiscard]] store::Compression compression() const;
  /// What it was checked against; of kind kNone for a local file.
  [[nodiscard]] const IdentityRecord& diff_id() const { return header_.diff_id; }
  [[nodiscard]] std::uint64_t blob_size_bytes() const { return header_.blob_size_bytes; }
  /// Of the recut file (recut_path()) that spans are read from instead of the blob; 0: the blob itself is.
  [[nodiscard]] std::uint64_t recut_size_bytes() const { return header_.recut_size_bytes; }
  /// Of the uncompressed tar.
  [[nodiscard]] std::uint64_t stream_size_bytes() const { return header_.stream_size_bytes; }
  [[nodiscard]] std::uint64_t file_size_bytes() const { return mapping_.size_bytes(); }

  /// The spans of a blob; none for a directory.
  [[nodiscard]] const CheckpointTable& checkpoints() const { return checkpoints_; }

  /// Unpacks and checks the entries. Only who builds a tree needs them, so opening an index does not.
  [[nodiscard]] Result<EntryTable> load_entries() const;

 private:
  LayerIndex(Mapping mapping, const IndexParts& parts, CheckpointTable checkpoints)
      : mapping_(std::move(mapping)),
        header_(parts.header),
        packed_entries_(parts.packed_entries),
        checkpoints_(checkpoints) {}

  Mapping mapping_;
  IndexHeader header_;
  std::span<const std::byte> packed_entries_;  // within mapping_
  CheckpointTable checkpoints_;
};

}  // namespace layerboot::layer
