#include "oci-mount/store/content.h"

#include "oci-mount/base/bytes.h"
#include "oci-mount/base/files.h"

namespace layerboot::store {

Result<std::string> Content::read_document(const Digest& digest, std::uint64_t size_bytes,
                                           std::size_t max_bytes, std::string_view what) const {
  const std::string name = str_cat(what, " ", digest.text());
  if (size_bytes > max_bytes) {
    return fail(EINVAL, name, ": ", size_bytes, " bytes are over the limit of ", max_bytes);
  }
  auto text = read_blob(digest, max_bytes);
  if (!text) return while_doing(text.error(), name, " is not in ", where(), ": ", remedy());
  LB_ASSIGN(const Digest found, digest_of(digest.algorithm(), as_bytes(*text)));
  if (found == digest && text->size() != size_bytes) {
    return fail(EBADMSG, name, " has ", text->size(), " bytes, but what names it says ", size_bytes,
                ": the image was put together wrong; fetch or build it again");
  }
  if (found != digest) {
    return fail(EBADMSG, name, " is damaged: its bytes hash to ", found.text(), "; ", remedy());
  }
  return text;
}

std::filesystem::path DirectoryContent::path_of(const Digest& digest) const {
  return blobs_ / digest.algorithm_name() / digest.hex();
}

Result<std::string> DirectoryContent::read_blob(const Digest& digest, std::size_t max_bytes) const {
  return read_file(path_of(digest), max_bytes);
}

Result<void> DirectoryContent::place(ImageLayer& layer) const {
  layer.path = path_of(layer.blob);
  if (!hold_open_) return {};
  LB_ASSIGN(layer.opened, open_blob(layer));
  return {};
}

Result<Lease> DirectoryContent::lease(const Digest& manifest) const {
  if (hold_open_) return Lease();
  return take_lease(path_of(manifest));
}

Result<std::string> ArchiveContent::read_blob(const Digest& digest, std::size_t max_bytes) const {
  return archive_->read(str_cat("blobs/", digest.algorithm_name(), "/", digest.hex()), max_bytes);
}

Result<void> ArchiveContent::place(ImageLayer& layer) const {
  layer.path = archive_->path();
  LB_ASSIGN(layer.opened,
            archive_->find(str_cat("blobs/", layer.blob.algorithm_name(), "/", layer.blob.hex()),
                           layer_name(layer)));
  return {};
}

}  // namespace layerboot::store
