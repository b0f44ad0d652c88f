// Builds a layer's index in one pass over its blob.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>

#include "oci-mount/base/files.h"
#include "oci-mount/base/result.h"
#include "oci-mount/layer/blob_pieces.h"
#include "oci-mount/layer/identity.h"
#include "oci-mount/layer/layer_index.h"
#include "oci-mount/layer/side_thread.h"
#include "oci-mount/store/blob.h"
#include "oci-mount/store/digest.h"
#include "oci-mount/store/oci_json.h"

namespace layerboot::layer {

/// What a blob is to be, by its image's manifest and config.
struct ExpectedLayer {
  LayerIdentity identity;
  store::Compression compression = store::Compression::kNone;  // what it is told to be: a hint
  struct Digests {
    store::Digest blob;
    std::uint64_t size_bytes = 0;
    store::Digest diff_id;
  };
  std::optional<Digests> digests;  // none for a local file, which is taken as it is
  std::string source;              // the local file's path
};

/// EBADMSG unless the blob has as many bytes as it is to have.
Result<void> check_size(const store::Blob& blob, const ExpectedLayer& expected);
/// EBADMSG: what is said of the layer `name` whose tar is another than the image's config has.
std::unexpected<Error> wrong_diff_id(const std::string& name, const store::Digest& found,
                                     const store::Digest& expected);

/// What building an index fills. Lent: they outlive who has them.
struct LayerFiles {
  FileAppender& index;
  FileAppender& recut;
  FileAppender& scratch;  // for what is not to be held in memory meanwhile
};

/// These files, on the file system of the index. None has a name before commit(), the scratch file never.
class IndexFiles {
 public:
  /// `path` is the index's; its directory must exist.
  static Result<IndexFiles> create(const std::filesystem::path& path);

  [[nodiscard]] LayerFiles to_fill() { return {index_, recut_, scratch_}; }
  /// Gives the index its name, and the recut file its own where the index says that there is one. Before that
  /// it is checked as LayerIndex::open() does: who filled the files has read foreign bytes. EBADMSG where it
  /// is no index of `expected`. Gives the index that was checked.
  Result<LayerIndex> commit(const LayerIdentity& expected);

 private:
  IndexFiles(AtomicFile index, AtomicFile recut, AtomicFile scratch, std::string name)
      : index_(std::move(index)),
        recut_(std::move(recut)),
        scratch_(std::move(scratch)),
        name_(std::move(name)) {}

  AtomicFile index_;
  AtomicFile recut_;
  AtomicFile scratch_;
  std::string name_;
};

/// What the blob is to hash to, if anything.
std::optional<store::Digest> blob_digest(const ExpectedLayer& expected);

/// How it is compressed, the blob itself says. Reads the whole blob once (decoding, sha256 of the tar, tar
/// entries, checkpoints), a second time where what the layer needs is known at its end only, and writes the
/// index; of a layer in large zstd frames, xz or bzip2 also the recut file. The files are empty before.
/// `on_progress` gets the blob's bytes done so far. Errors are
/// one line that names the blob and the remedy: the codec's or the tar's own, EBADMSG where it unpacks to
/// another tar. Whether the blob is what it is to be, it takes for granted, also in its errors: whoever hands
/// it out hashes it, and goes by that first. `side` hashes the tar, and is drained afterwards.
Result<void> fill_index(BlobPieces& blob, const ExpectedLayer& expected, LayerFiles files, SideThread& side,
                        const std::function<void(std::uint64_t)>& on_progress);

/// fill_index() in this process, and the files at `path` and beside it, whole or not at all. Gives the index.
/// EBADMSG where the blob is not what it is to be (cut short, changed).
Result<LayerIndex> build_index(const store::Blob& blob, const ExpectedLayer& expected,
                               const std::filesystem::path& path,
                               const std::function<void(std::uint64_t)>& on_progress);

}  // namespace layerboot::layer
