#include "oci-mount/store/image.h"

#include <fcntl.h>

#include <algorithm>
#include <optional>

#include "oci-mount/base/bytes.h"
#include "oci-mount/base/files.h"
#include "oci-mount/store/reference.h"

namespace layerboot::store {

namespace {

/// index.json, and one index within it: more nesting is no image anybody makes.
constexpr int kMaxIndexNesting = 2;
constexpr std::size_t kMaxTagsListed = 20;

class LayoutReader {
 public:
  explicit LayoutReader(std::filesystem::path layout) : layout_(std::move(layout)) {}

  [[nodiscard]] std::filesystem::path blob_path(const Digest& digest) const {
    return layout_ / "blobs" / digest.algorithm_name() / digest.hex();
  }

  /// A document among the blobs, checked against its digest.
  Result<std::string> read_document(const Digest& digest, std::uint64_t size_bytes, std::size_t max_bytes,
                                    std::string_view what) const {
    const std::string name = str_cat(what, " ", digest.text());
    if (size_bytes > max_bytes) {
      return fail(EINVAL, name, ": ", size_bytes, " bytes are over the limit of ", max_bytes);
    }
    auto text = read_file(blob_path(digest), max_bytes);
    if (!text)
      return while_doing(text.error(), name, " is not in ", layout_.string(), ": fetch the image again");
    LB_ASSIGN(const Digest found, digest_of(digest.algorithm(), as_bytes(*text)));
    if (found != digest || text->size() != size_bytes) {
      return fail(EBADMSG, name, " is damaged: its bytes hash to ", found.text(), "; fetch the image again");
    }
    return text;
  }

 private:
  std::filesystem::path layout_;
};

/// "; it has: a, b" or "; it has no tagged image".
std::string list_tags(const IndexDocument& index) {
  std::vector<std::string> tags;
  for (const auto& entry : index.manifests) {
    if (!entry.ref_name.empty()) tags.push_back(entry.ref_name);
  }
  std::sort(tags.begin(), tags.end());
  tags.erase(std::unique(tags.begin(), tags.end()), tags.end());
  if (tags.empty()) return "it holds no tagged image";
  std::string text = "it holds: ";
  for (std::size_t i = 0; i < std::min(tags.size(), kMaxTagsListed); ++i) {
    text += str_cat(i == 0 ? "" : ", ", tags[i]);
  }
  if (tags.size() > kMaxTagsListed) text += str_cat(" and ", tags.size() - kMaxTagsListed, " more");
  return text;
}

Result<IndexDocument> read_top_index(const Reference& reference) {
  const auto path = reference.layout / "index.json";
  auto text = read_file(path, kMaxIndexJsonBytes);
  if (!text && text.error().code == ENOENT && reference.in_store) {
    return fail(ENOENT, "no image \"", reference.text, "\": the local store ", reference.layout.string(),
                " is empty; put one in with: skopeo copy docker://NAME oci:", reference.layout.string(),
                ":NAME");
  }
  if (!text && text.error().code == ENOENT) {
    return fail(ENOENT, "no image \"", reference.text, "\": ", reference.layout.string(),
                " is no OCI layout (it has no index.json); make one with: skopeo copy SOURCE oci:",
                reference.layout.string(), ":TAG");
  }
  if (!text) return while_doing(text.error(), "image \"", reference.text, "\"");
  return parse_index(*text, path.string());
}

/// The entries that the reference means: one image, perhaps for several platforms.
Result<std::vector<ManifestDescriptor>> choose_by_name(const IndexDocument& index,
                                                       const Reference& reference) {
  std::vector<std::string> names = reference.names;
  if (names.empty()) {
    if (index.manifests.size() == 1) return index.manifests;
    names.emplace_back("latest");
  }
  for (const std::string& name : names) {
    std::vector<ManifestDescriptor> chosen;
    std::copy_if(index.manifests.begin(), index.manifests.end(), std::back_inserter(chosen),
                 [&](const auto& entry) { return entry.ref_name == name; });
    if (!chosen.empty()) return chosen;
  }
  return fail(ENOENT, "no image \"", reference.text, "\" in ", reference.layout.string(), ": ",
              list_tags(index), reference.in_store ? "" : "; name one as oci:DIR:TAG");
}

bool fits_host(const ManifestDescriptor& entry) {
  if (!entry.platform || (entry.platform->os.empty() && entry.platform->architecture.empty())) return true;
  return entry.platform->os == "linux" && entry.platform->architecture == host_architecture();
}

/// Follows nested indexes down to one manifest. The last of several with one name wins: tools that
/// replace a tag append.
Result<ManifestDescriptor> choose_manifest(const LayoutReader& layout,
                                           std::vector<ManifestDescriptor> candidates,
                                           const Reference& reference) {
  for (int nesting = 0; nesting < kMaxIndexNesting; ++nesting) {
    std::optional<ManifestDescriptor> chosen;
    std::string seen;
    for (const auto& entry : candidates) {
      if (fits_host(entry)) chosen = entry;
      if (entry.platform) seen += str_cat(" ", entry.platform->os, "/", entry.platform->architecture);
    }
    if (!chosen) {
      return fail(ENOENT, "image \"", reference.text, "\" has nothing for linux/", host_architecture(),
                  seen.empty() ? "" : "; it has:", seen);
    }
    if (chosen->kind == DocumentKind::kManifest) return *chosen;
    LB_ASSIGN(const std::string text,
              layout.read_document(chosen->digest, chosen->size_bytes, kMaxManifestJsonBytes, "index"));
    LB_ASSIGN(auto nested, parse_index(text, str_cat("index ", chosen->digest.text())));
    candidates = std::move(nested.manifests);
  }
  return fail(EINVAL, "image \"", reference.text, "\": indexes are nested deeper than the limit of ",
              kMaxIndexNesting);
}

Result<Image> assemble(const LayoutReader& layout, const ManifestDescriptor& chosen,
                       const Reference& reference) {
  LB_ASSIGN(const std::string manifest_text,
            layout.read_document(chosen.digest, chosen.size_bytes, kMaxManifestJsonBytes, "manifest"));
  LB_ASSIGN(const auto manifest, parse_manifest(manifest_text, str_cat("manifest ", chosen.digest.text())));
  LB_ASSIGN(const std::string config_text, layout.read_document(manifest.config, manifest.config_size_bytes,
                                                                kMaxManifestJsonBytes, "config"));
  Image image;
  image.reference = reference.text;
  image.manifest_digest = chosen.digest;
  LB_ASSIGN(image.config, parse_config(config_text, str_cat("config ", manifest.config.text())));
  if (image.config.diff_ids.size() != manifest.layers.size()) {
    return fail(EINVAL, "image \"", reference.text, "\": its config lists ", image.config.diff_ids.size(),
                " diff_ids for ", manifest.layers.size(), " layers");
  }
  const Platform& platform = image.config.platform;
  if ((!platform.os.empty() && platform.os != "linux") ||
      (!platform.architecture.empty() && platform.architecture != host_architecture())) {
    return fail(ENOTSUP, "image \"", reference.text, "\" is for ", platform.os, "/", platform.architecture,
                ", not for linux/", host_architecture());
  }
  for (std::size_t i = 0; i < manifest.layers.size(); ++i) {
    const LayerDescriptor& layer = manifest.layers[i];
    image.layers.push_back({layer.media_type, layer.compression, layer.digest, layer.size_bytes,
                            image.config.diff_ids[i], layout.blob_path(layer.digest)});
  }
  LB_ASSIGN(image.chain_id, chain_id_of(image.config.diff_ids));
  return image;
}

}  // namespace

std::string_view host_architecture() {
#if defined(__x86_64__)
  return "amd64";
#elif defined(__aarch64__)
  return "arm64";
#else
#error "name this architecture as OCI does"
#endif
}

Result<Digest> chain_id_of(const std::vector<Digest>& diff_ids) {
  if (diff_ids.empty()) return Digest();
  Digest chain = diff_ids.front();
  for (std::size_t i = 1; i < diff_ids.size(); ++i) {
    const std::string joined = str_cat(chain.text(), " ", diff_ids[i].text());
    LB_ASSIGN(chain, digest_of(HashAlgorithm::kSha256, as_bytes(joined)));
  }
  return chain;
}

Result<Image> open_image(std::string_view text, const StateDirs& dirs) {
  LB_ASSIGN(const Reference reference, parse_reference(text, dirs));
  LB_ASSIGN(const IndexDocument index, read_top_index(reference));
  LB_ASSIGN(auto candidates, choose_by_name(index, reference));
  const LayoutReader layout(reference.layout);
  LB_ASSIGN(const auto chosen, choose_manifest(layout, std::move(candidates), reference));
  return assemble(layout, chosen, reference);
}

}  // namespace layerboot::store
