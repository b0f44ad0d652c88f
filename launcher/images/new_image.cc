#include "launcher/images/new_image.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <system_error>
#include <utility>

#include "launcher/host/run_tool.h"
#include "launcher/images/stored_documents.h"
#include "oci-mount/base/bytes.h"
#include "oci-mount/base/files.h"
#include "oci-mount/store/blob.h"
#include "oci-mount/store/compression.h"
#include "oci-mount/store/media_types.h"
#include "oci-mount/store/oci_json.h"

namespace layerboot::launcher {

namespace {

namespace fs = std::filesystem;
using store::Digest;
using store::Json;

constexpr std::size_t kPieceBytes = std::size_t{1} << 20;
constexpr std::string_view kLayerType = "application/vnd.oci.image.layer.v1.tar";

bool is_there(const fs::path& path, std::uint64_t size_bytes) {
  struct stat st{};
  return ::stat(path.c_str(), &st) == 0 && S_ISREG(st.st_mode) &&
         static_cast<std::uint64_t>(st.st_size) == size_bytes;
}

/// The specification has one for these three; of others, the layer's own.
std::string media_type(const store::ImageLayer& layer, store::Compression compression) {
  if (compression == store::Compression::kNone) return std::string(kLayerType);
  const bool is_specified =
      compression == store::Compression::kGzip || compression == store::Compression::kZstd;
  if (!is_specified) return layer.media_type;
  return str_cat(kLayerType, "+", store::compression_name(compression));
}

Result<void> copy_blob(const store::FileBlob& blob, const Digest& digest, const fs::path& to) {
  LB_TRY(make_directories(to.parent_path()));
  LB_ASSIGN(auto file, AtomicFile::create(to));
  LB_ASSIGN(auto hasher, store::Hasher::create(digest.algorithm()));
  std::vector<std::byte> piece(kPieceBytes);
  for (std::uint64_t offset = 0; offset < blob.size_bytes();) {
    LB_TRY(InterruptScope::check());
    const auto wanted = std::min<std::uint64_t>(piece.size(), blob.size_bytes() - offset);
    LB_ASSIGN(const std::size_t got, blob.read_blocking(offset, std::span(piece).first(wanted)));
    if (got == 0) return fail(EBADMSG, blob.name(), " became shorter while it was read");
    hasher.update(std::span(piece).first(got));
    LB_TRY(file.append(std::span(piece).first(got)));
    offset += got;
  }
  if (const Digest found = hasher.finish(); found != digest)
    return fail(EBADMSG, blob.name(), " is damaged: its bytes hash to ", found.text(),
                "; fetch the image again");
  return file.commit();
}

}  // namespace

NewImage::~NewImage() {
  for (const fs::path& path : added_) ::unlink(path.c_str());
}

Result<void> NewImage::add_layer(const store::ImageLayer& layer) {
  LB_ASSIGN(const auto blob, store::open_blob(layer));
  LB_ASSIGN(const store::Compression compression, store::compression_of(*blob));
  const fs::path path = blob_path(store_, layer.blob);
  if (!is_there(path, layer.size_bytes)) {
    LB_TRY(copy_blob(*blob, layer.blob, path));
    added_.push_back(path);
  }
  layers_.push_back({{"mediaType", media_type(layer, compression)},
                     {"digest", layer.blob.text()},
                     {"size", layer.size_bytes}});
  return {};
}

Result<void> NewImage::add_layer_file(const fs::path& file, Json descriptor) {
  LB_ASSIGN(const std::string text, store::string_member(descriptor, "digest", "the new layer"));
  LB_ASSIGN(const auto digest, Digest::parse(text));
  LB_ASSIGN(const std::uint64_t size_bytes, store::size_member(descriptor, "size", "the new layer"));
  const fs::path path = blob_path(store_, digest);
  if (!is_there(path, size_bytes)) {
    LB_TRY(make_directories(path.parent_path()));
    LB_TRY(rename_durably(file, path));
    added_.push_back(path);
  }
  layers_.push_back(std::move(descriptor));
  return {};
}

Result<Json> NewImage::add_document(const Json& document, const char* media_type) {
  const std::string text = document.dump(-1, ' ', false, Json::error_handler_t::replace);
  LB_ASSIGN(const Digest digest, digest_of(store::HashAlgorithm::kSha256, as_bytes(text)));
  const fs::path path = blob_path(store_, digest);
  if (!is_there(path, text.size())) {
    LB_TRY(make_directories(path.parent_path()));
    LB_TRY(write_whole_file(path, text));
    added_.push_back(path);
  }
  return Json{{"mediaType", media_type}, {"digest", digest.text()}, {"size", text.size()}};
}

Result<std::string> NewImage::finish(const Json& config, const std::string& name) {
  if (layers_.size() > store::kMaxLayers)
    return fail(E2BIG, "the new image would have ", layers_.size(), " layers; the limit is ",
                store::kMaxLayers);
  LB_ASSIGN(const Json config_descriptor, add_document(config, store::kOciConfigType));
  const Json manifest = {{"schemaVersion", 2},
                         {"mediaType", store::kOciManifestType},
                         {"config", config_descriptor},
                         {"layers", layers_}};
  LB_ASSIGN(const Json descriptor, add_document(manifest, store::kOciManifestType));
  IndexEntry entry;
  entry.name = name;
  LB_TRY(put_entry(store_, descriptor, entry));
  added_.clear();
  return store::text_member(descriptor, "digest");
}

}  // namespace layerboot::launcher
