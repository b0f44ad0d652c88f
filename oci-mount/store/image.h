// Image: an image found and its documents checked; its layers in order, not yet opened.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "oci-mount/base/result.h"
#include "oci-mount/base/state_dirs.h"
#include "oci-mount/store/blob.h"
#include "oci-mount/store/digest.h"
#include "oci-mount/store/lease.h"
#include "oci-mount/store/oci_json.h"
#include "oci-mount/store/unpacked_archive.h"

namespace layerboot::store {

struct ImageLayer {
  std::string media_type;
  Compression compression = Compression::kNone;  // by its media type: a hint; the blob itself says
  Digest blob;                                   // of the bytes as stored
  std::uint64_t size_bytes = 0;                  // of the bytes as stored
  Digest diff_id;                                // of the uncompressed tar
  std::filesystem::path path;                    // the blob's file, or the archive that it is a part of
  /// The blob, where its source had to open it: in an archive, in containerd's store. Otherwise null.
  std::shared_ptr<const FileBlob> opened;
  /// `path` is a directory that is served as it is; the fields above mean nothing then.
  bool is_directory = false;
};

/// What messages call it.
[[nodiscard]] std::string layer_name(const ImageLayer& layer);

/// The bytes of a layer as stored. Not of a directory.
Result<std::shared_ptr<const FileBlob>> open_blob(const ImageLayer& layer);

struct Image {
  std::string reference;  // as typed
  /// Names all that the image is; where there is no manifest of it alone, the digest of its config: of
  /// docker-archive, where that is the image's ID. The zero digest of a directory.
  Digest manifest_digest;
  ImageConfig config;
  std::string config_text;         // the document that `config` was read from; empty of a directory
  std::vector<ImageLayer> layers;  // lowest first
  /// The ChainID of the whole (OCI image spec, config.md "Layer ChainID"); the zero digest when there is no
  /// layer. Of a directory, the digest of its path.
  Digest chain_id;
  /// The file in the cache that a compressed archive was unpacked into; empty of any other image.
  std::filesystem::path unpacked;
  Lease lease;  // keeps it in the local store, or any other layout, from gc and rmi
};

struct ImageOptions {
  Platform platform = host_platform();  // which of an image for several, and what it must be for
  bool or_other = false;  // where there is nothing for that, what there is: to be looked at, not to be run
  Unpacking unpacking = Unpacking::kAllowed;
};

/// Finds `reference` (see reference.h), chooses what is for the platform, and checks manifest and
/// config against their digests; an archive or a directory is opened here, and a compressed archive unpacked
/// (unpacked_archive.h), into dirs.unpacked(). Blobs are not read here: their
/// digests are checked when they are indexed. An error names the reference and what to do, with the tags that
/// exist where the tag does not.
Result<Image> open_image(std::string_view reference, const StateDirs& dirs, const ImageOptions& options = {});

/// That the config lists a DiffID for each of `layer_count` layers (EINVAL), and is for the platform
/// (ENOTSUP).
Result<void> check_config(const Image& image, std::size_t layer_count, const ImageOptions& options);

/// Exposed for its test: the ChainID of layers with these DiffIDs, lowest first.
Result<Digest> chain_id_of(const std::vector<Digest>& diff_ids);

}  // namespace layerboot::store
