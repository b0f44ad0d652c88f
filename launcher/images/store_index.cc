#include "launcher/images/store_index.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <algorithm>
#include <set>

#include "oci-mount/base/bytes.h"
#include "oci-mount/base/files.h"
#include "oci-mount/store/json_document.h"
#include "oci-mount/store/oci_json.h"

namespace layerboot::launcher {

namespace {

constexpr mode_t kStoreMode = 0755;
/// index.json, an index in it, and one more: as deep as open_image() goes, and then some.
constexpr int kMaxNesting = 4;

/// Follows one image's documents to all of its blobs.
class BlobWalk {
 public:
  explicit BlobWalk(const std::filesystem::path& store) : store_(store) {}

  Result<void> add(const store::ManifestDescriptor& descriptor, int nesting = 0) {
    if (!blobs_.insert(descriptor.digest.text()).second) return {};
    const auto text = read_file(path_of(descriptor.digest), store::kMaxManifestJsonBytes);
    if (!text && text.error().code == ENOENT) return {};  // another platform's, never fetched
    if (!text) return std::unexpected(text.error());
    if (descriptor.kind == store::DocumentKind::kIndex) {
      if (nesting >= kMaxNesting)
        return fail(EINVAL, "indexes are nested deeper than the limit of ", kMaxNesting);
      LB_ASSIGN(const auto index, store::parse_index(*text, str_cat("index ", descriptor.digest.text())));
      for (const auto& entry : index.manifests) LB_TRY(add(entry, nesting + 1));
      return {};
    }
    LB_ASSIGN(const auto manifest,
              store::parse_manifest(*text, str_cat("manifest ", descriptor.digest.text())));
    blobs_.insert(manifest.config.text());
    for (const auto& layer : manifest.layers) blobs_.insert(layer.digest.text());
    layer_count_ = std::max(layer_count_, manifest.layers.size());
    return {};
  }

  [[nodiscard]] const std::set<std::string>& blobs() const { return blobs_; }
  [[nodiscard]] std::size_t layer_count() const { return layer_count_; }
  [[nodiscard]] std::uint64_t size_bytes() const {
    std::uint64_t sum = 0;
    for (const std::string& digest : blobs_) {
      struct stat st{};
      const auto parsed = store::Digest::parse(digest);
      if (parsed && ::stat(path_of(*parsed).c_str(), &st) == 0) sum += static_cast<std::uint64_t>(st.st_size);
    }
    return sum;
  }

 private:
  [[nodiscard]] std::filesystem::path path_of(const store::Digest& digest) const {
    return blob_path(store_, digest);
  }

  const std::filesystem::path& store_;
  std::set<std::string> blobs_;
  std::size_t layer_count_ = 0;
};

std::string ref_name_of(const store::Json& descriptor) {
  const auto* annotations = store::find_member(descriptor, "annotations");
  if (annotations == nullptr) return {};
  return store::string_member(*annotations, "org.opencontainers.image.ref.name", "annotations").value_or("");
}

}  // namespace

Result<StoreLock> StoreLock::acquire(const std::filesystem::path& store) {
  LB_TRY(make_directories(store, kStoreMode));
  LB_ASSIGN(UniqueFd fd, open_path(store / "lock", O_RDWR | O_CREAT, 0644));
  while (::flock(fd.get(), LOCK_EX) != 0) {
    if (errno != EINTR) return errno_error("cannot lock ", store.string());
  }
  return StoreLock(std::move(fd));
}

Result<StoreContents> StoreContents::read(const std::filesystem::path& store) {
  StoreContents contents;
  const auto path = store / "index.json";
  const auto text = read_file(path, store::kMaxIndexJsonBytes);
  if (!text && text.error().code == ENOENT) return contents;
  if (!text) return std::unexpected(text.error());
  LB_ASSIGN(const auto index, store::parse_index(*text, path.string()));
  std::set<std::string> reachable;
  for (const auto& entry : index.manifests) {
    BlobWalk walk(store);
    auto walked = walk.add(entry);
    if (!walked) return while_doing(walked.error(), "image ", entry.ref_name, " in ", store.string());
    reachable.insert(walk.blobs().begin(), walk.blobs().end());
    if (entry.ref_name.empty()) continue;
    contents.images_.push_back({entry.ref_name,
                                entry.digest.text(),
                                walk.size_bytes(),
                                walk.layer_count(),
                                {walk.blobs().begin(), walk.blobs().end()}});
  }
  std::ranges::sort(contents.images_, {}, &StoredImage::name);
  contents.reachable_.assign(reachable.begin(), reachable.end());
  return contents;
}

std::filesystem::path blob_path(const std::filesystem::path& store, const store::Digest& digest) {
  return store / "blobs" / digest.algorithm_name() / digest.hex();
}

Result<std::vector<std::string>> blobs_of_manifest(const std::filesystem::path& store,
                                                   const store::Digest& digest) {
  BlobWalk walk(store);
  store::ManifestDescriptor manifest;
  manifest.digest = digest;
  LB_TRY(walk.add(manifest));
  return std::vector(walk.blobs().begin(), walk.blobs().end());
}

Result<std::size_t> forget_images(const std::filesystem::path& store, const std::vector<std::string>& names) {
  const auto path = store / "index.json";
  LB_ASSIGN(const std::string text, read_file(path, store::kMaxIndexJsonBytes));
  LB_ASSIGN(store::Json document,
            store::parse_json_object(text, store::kMaxIndexJsonBytes, store::kMaxJsonDepth, path.string()));
  const auto* const manifests = store::find_member(document, "manifests");
  if (manifests == nullptr || !manifests->is_array())
    return fail(EBADMSG, path.string(), ": it has no manifests");
  store::Json kept = store::Json::array();
  for (const auto& descriptor : *manifests) {
    if (std::ranges::find(names, ref_name_of(descriptor)) == names.end()) kept.push_back(descriptor);
  }
  const std::size_t forgotten = manifests->size() - kept.size();
  if (forgotten == 0) return forgotten;
  document["manifests"] = std::move(kept);
  LB_ASSIGN(auto file, AtomicFile::create(path));
  LB_TRY(file.append(as_bytes(document.dump(-1, ' ', false, store::Json::error_handler_t::replace))));
  LB_TRY(file.commit());
  return forgotten;
}

}  // namespace layerboot::launcher
