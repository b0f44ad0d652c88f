#include "launcher/images/local_source.h"

#include <fcntl.h>

#include <algorithm>
#include <span>
#include <system_error>
#include <vector>

#include "launcher/host/run_tool.h"
#include "launcher/images/pull_source.h"
#include "launcher/images/store_index.h"
#include "oci-mount/base/bytes.h"
#include "oci-mount/base/files.h"
#include "oci-mount/store/content.h"
#include "oci-mount/store/docker_archive.h"
#include "oci-mount/store/image.h"
#include "oci-mount/store/json_document.h"
#include "oci-mount/store/media_types.h"
#include "oci-mount/store/reference.h"
#include "oci-mount/store/unpacked_archive.h"

namespace layerboot::launcher {

namespace {

namespace fs = std::filesystem;

constexpr const char* kName = "image";
constexpr const char* kLayout = "source";
constexpr const char* kArchive = "archive";

Result<void> link_to(const fs::path& target, const fs::path& link) {
  std::error_code error;
  fs::create_symlink(target, link, error);
  if (error) return fail(error.value(), "cannot make ", link.string());
  return {};
}

Result<void> write_blob(const fs::path& layout, const store::Digest& digest, const store::Blob& blob) {
  constexpr std::size_t kPieceBytes = std::size_t{1} << 20U;
  const fs::path path = blob_path(layout, digest);
  LB_TRY(make_directories(path.parent_path()));
  LB_ASSIGN(const UniqueFd file, open_path(path, O_WRONLY | O_CREAT | O_TRUNC, 0600));
  std::vector<std::byte> piece(std::min<std::uint64_t>(kPieceBytes, blob.size_bytes()));
  for (std::uint64_t at = 0; at < blob.size_bytes();) {
    LB_TRY(InterruptScope::check());
    LB_ASSIGN(const std::size_t got, blob.read_blocking(at, piece));
    if (got == 0) return fail(EBADMSG, blob.name(), " ends early");
    LB_TRY(write_next(file.get(), std::span(piece).first(got)));
    at += got;
  }
  return {};
}

Result<void> write_document(const fs::path& layout, const store::Digest& digest, std::string_view text) {
  const fs::path path = blob_path(layout, digest);
  LB_TRY(make_directories(path.parent_path()));
  return write_whole_file(path, text, 0600);
}

/// What lies in an OCI layout.
class Layout {
 public:
  Layout(const StateDirs& dirs, store::Reference reference, fs::path staging)
      : dirs_(dirs), reference_(std::move(reference)), layout_(staging / kLayout) {}

  Result<LocalSource> prepare(const LocalChoice& choice) {
    LB_ASSIGN(image_, store::open_image(reference_.text, dirs_,
                                        {.platform = choice.platform.value_or(store::host_platform()),
                                         .or_other = choice.or_other}));
    LB_TRY(make_directories(layout_));
    const bool is_archive = reference_.kind == store::SourceKind::kOciArchive;
    LB_TRY(is_archive ? bring_in_archive()
                      : bring_in(store::DirectoryContent(reference_.layout / "blobs", false)));
    if (!is_archive) LB_TRY(link_to(reference_.layout / "blobs", layout_ / "blobs"));
    IndexEntry entry;
    entry.name = kName;
    LB_TRY(put_entry(layout_, descriptor_, entry));
    LocalSource source{.text = str_cat("oci:", kLayout, ":", kName)};
    LB_ASSIGN(const auto config, store::parse_config(image_.config_text, "its config"));
    if (config.platform != image_.config.platform) source.said_platform = image_.config.platform;
    return source;
  }

 private:
  Result<void> bring_in(const store::Content& content) {
    LB_ASSIGN(manifest_, content.read_blob(image_.manifest_digest, store::kMaxManifestJsonBytes));
    LB_ASSIGN(const store::Json document, store::parse_json_object(manifest_, store::kMaxManifestJsonBytes,
                                                                   store::kMaxJsonDepth, "its manifest"));
    const std::string type = store::text_member(document, "mediaType");
    descriptor_ = {{"mediaType", type.empty() ? store::kOciManifestType : type},
                   {"digest", image_.manifest_digest.text()},
                   {"size", manifest_.size()}};
    return {};
  }
  /// skopeo would unpack all that is in it.
  Result<void> bring_in_archive() {
    LB_ASSIGN(const auto archive,
              store::open_archive(reference_.layout, dirs_.unpacked(), store::Unpacking::kAllowed));
    LB_TRY(bring_in(store::ArchiveContent(archive.tar)));
    LB_TRY(write_document(layout_, image_.manifest_digest, manifest_));
    LB_ASSIGN(const auto manifest, store::parse_manifest(manifest_, "its manifest"));
    LB_TRY(write_document(layout_, manifest.config, image_.config_text));
    for (const store::ImageLayer& layer : image_.layers) {
      LB_ASSIGN(const auto blob, store::open_blob(layer));
      LB_TRY(write_blob(layout_, layer.blob, *blob));
    }
    return {};
  }

  const StateDirs& dirs_;
  store::Reference reference_;
  fs::path layout_;
  store::Image image_;
  std::string manifest_;
  store::Json descriptor_;
};

/// skopeo of Debian 12 does not unpack one that is compressed.
Result<LocalSource> prepare_docker_archive(const StateDirs& dirs, const store::Reference& reference,
                                           const fs::path& staging) {
  LB_ASSIGN(const auto archive,
            store::open_archive(reference.layout, dirs.unpacked(), store::Unpacking::kAllowed));
  LB_TRY(store::read_docker_manifest(archive, reference));
  LB_TRY(link_to(archive.unpacked.empty() ? reference.layout : archive.unpacked, staging / kArchive));
  const std::string_view text = reference.text;
  const std::size_t path_at = text.find(':') + 1;
  return LocalSource{.text = str_cat(text.substr(0, path_at), kArchive,
                                     text.substr(path_at + reference.layout.native().size()))};
}

}  // namespace

Result<LocalSource> prepare_source(const StateDirs& dirs, const std::string& text, const LocalChoice& choice,
                                   const fs::path& staging) {
  if (is_other_engines(text)) return LocalSource{.text = text};
  LB_ASSIGN(auto reference, store::parse_reference(text, dirs));
  switch (reference.kind) {
    case store::SourceKind::kLayout:
      if (reference.in_store) break;  // a registry's
      [[fallthrough]];
    case store::SourceKind::kOciArchive:
      return Layout(dirs, std::move(reference), staging).prepare(choice);
    case store::SourceKind::kDockerArchive:
      return prepare_docker_archive(dirs, reference, staging);
    case store::SourceKind::kContainerd:
    case store::SourceKind::kDirectory:
      break;
  }
  return LocalSource{.text = text};
}

}  // namespace layerboot::launcher
