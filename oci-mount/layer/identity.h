// LayerIdentity: what a layer is known by, before and after it is indexed.
#pragma once

#include <sys/stat.h>

#include <string>

#include "oci-mount/base/result.h"
#include "oci-mount/layer/index_format.h"
#include "oci-mount/store/digest.h"

namespace layerboot::layer {

/// A blob's digest; or, for a file that nobody gave a digest, its place and its times: it is not hashed at
/// each start.
class LayerIdentity {
 public:
  static LayerIdentity of_blob(const store::Digest& digest);
  /// By device, inode, size and modification time.
  static LayerIdentity of_file(const struct stat& st);
  /// By the hash of what its walk found.
  static LayerIdentity of_directory(std::uint64_t hash_high, std::uint64_t hash_low);

  /// REQUIRES: `record` is one's.
  static LayerIdentity of_record(const IdentityRecord& record);

  [[nodiscard]] const IdentityRecord& record() const { return record_; }
  /// "sha256:…", "file:…" or "dir:…"; the same layer always gives the same text. Part of the tree's key.
  [[nodiscard]] std::string text() const;
  /// The index file's name: "sha256-….lidx", "file-….lidx" or "dir-….lidx".
  [[nodiscard]] std::string index_file_name() const;

 private:
  IdentityRecord record_;
};

/// A digest as it is kept in an index, and back. REQUIRES: the record is a digest's.
IdentityRecord identity_record(const store::Digest& digest);
store::Digest digest_in(const IdentityRecord& record);

}  // namespace layerboot::layer
