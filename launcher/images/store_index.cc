#include "launcher/images/store_index.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <set>
#include <system_error>
#include <utility>

#include "launcher/host/run_tool.h"
#include "oci-mount/base/bytes.h"
#include "oci-mount/base/file_lock.h"
#include "oci-mount/base/files.h"
#include "oci-mount/base/log.h"
#include "oci-mount/store/oci_json.h"

namespace layerboot::launcher {

namespace {

using store::Json;

constexpr const char* kRefName = "org.opencontainers.image.ref.name";
constexpr const char* kRegistryDigest = "layerboot.registry.digest";
constexpr const char* kSource = "layerboot.source";
constexpr const char* kFormerName = "layerboot.former.name";

std::string annotation(const Json& descriptor, const char* key) {
  const Json* annotations = store::find_member(descriptor, "annotations");
  if (annotations == nullptr) return {};
  return store::text_member(*annotations, key);
}

IndexEntry entry_of(const Json& descriptor) {
  return {.name = annotation(descriptor, kRefName),
          .digest = store::text_member(descriptor, "digest"),
          .media_type = store::text_member(descriptor, "mediaType"),
          .registry_digest = annotation(descriptor, kRegistryDigest),
          .source = annotation(descriptor, kSource),
          .former_name = annotation(descriptor, kFormerName),
          .number = 0,
          .descriptor = store::parse_index_entry(descriptor, "its entry in the index")};
}

/// The document, of which "manifests" is a list; null where there is no index.json.
Result<Json> read_index(const std::filesystem::path& store) {
  const auto path = store / "index.json";
  const auto text = read_file(path, store::kMaxIndexJsonBytes);
  if (!text && text.error().code == ENOENT) return Json();
  if (!text) return std::unexpected(text.error());
  auto document =
      store::parse_json_object(*text, store::kMaxIndexJsonBytes, store::kMaxJsonDepth, path.string());
  if (!document) {
    return fail(document.error().code, document.error().text,
                "; move it away and pull its images again, all of them before a gc: what is in blobs is not "
                "fetched twice");
  }
  const Json* const manifests = store::find_member(*document, "manifests");
  if (manifests == nullptr || !manifests->is_array())
    return fail(EBADMSG, path.string(), ": it has no list \"manifests\", so it is no index of images");
  return document;
}

Result<void> write_index(const std::filesystem::path& store, const Json& document) {
  LB_ASSIGN(auto file, AtomicFile::create(store / "index.json"));
  LB_TRY(file.append(as_bytes(document.dump(-1, ' ', false, Json::error_handler_t::replace))));
  return file.commit();
}

std::uint64_t size_of(const std::filesystem::path& store, const std::set<std::string>& blobs) {
  std::uint64_t sum = 0;
  for (const std::string& text : blobs) {
    struct stat st{};
    const auto digest = store::Digest::parse(text);
    if (digest && ::stat(blob_path(store, *digest).c_str(), &st) == 0)
      sum += static_cast<std::uint64_t>(st.st_size);
  }
  return sum;
}

}  // namespace

Result<StoreLock> StoreLock::acquire(const std::filesystem::path& store) {
  LB_TRY(make_private_directory(store));
  LB_ASSIGN(UniqueFd fd, open_path(store / "lock", O_RDWR | O_CREAT, 0644));
  auto locked = wait_for_lock(fd.get(), "waiting for another command that changes the local store");
  if (!locked && locked.error().code == EINTR) return std::unexpected(std::move(locked).error());
  if (!locked) return while_doing(locked.error(), "cannot lock ", store.string());
  return StoreLock(std::move(fd));
}

bool had_one_of(const IndexEntry& entry, const std::vector<std::string>& names) {
  return !entry.former_name.empty() && std::ranges::find(names, entry.former_name) != names.end();
}

Result<std::vector<IndexEntry>> read_entries(const std::filesystem::path& store) {
  LB_ASSIGN(const Json document, read_index(store));
  std::vector<IndexEntry> entries;
  if (document.is_null()) return entries;
  for (const Json& descriptor : document["manifests"]) {
    IndexEntry entry = entry_of(descriptor);
    entry.number = entries.size();
    entries.push_back(std::move(entry));
  }
  return entries;
}

std::string called(const IndexEntry& entry) {
  if (!entry.name.empty()) return entry.name;
  return entry.digest.empty() ? str_cat("@", entry.number) : entry.digest;
}

StoredImage look_at_image(const std::filesystem::path& store, const IndexEntry& entry) {
  StoredImage image;
  static_cast<IndexEntry&>(image) = entry;
  const auto digest = store::Digest::parse(entry.digest);
  if (!digest) {
    image.state = ImageState::kUnusable;
    image.problem = str_cat("its digest is none; layerboot rmi ", called(entry), " forgets it");
    image.complete = false;
    return image;
  }
  StoredDocuments found =
      entry.descriptor ? read_documents(store, *entry.descriptor) : follow_documents(store, *digest);
  if (!entry.descriptor) {
    found.state = ImageState::kUnusable;
    found.problem = entry.descriptor.error().describe();
  }
  image.size_bytes = size_of(store, found.blobs);
  image.state = found.state;
  image.problem = std::move(found.problem);
  image.complete = found.complete;
  image.layer_count = found.layer_count;
  image.layers = std::move(found.layers);
  image.config_digest = std::move(found.config_digest);
  image.created = std::move(found.created);
  image.platform = std::move(found.platform);
  image.blobs.assign(found.blobs.begin(), found.blobs.end());
  return image;
}

Result<StoreContents> StoreContents::read(const std::filesystem::path& store) {
  StoreContents contents;
  LB_ASSIGN(const auto entries, read_entries(store));
  std::set<std::string> reachable;
  for (const IndexEntry& entry : entries) {
    StoredImage image = look_at_image(store, entry);
    reachable.insert(image.blobs.begin(), image.blobs.end());
    contents.images_.push_back(std::move(image));
  }
  std::ranges::stable_sort(contents.images_, {}, &StoredImage::name);
  contents.reachable_.assign(reachable.begin(), reachable.end());
  return contents;
}

std::vector<IncompleteImage> StoreContents::incomplete() const {
  std::vector<IncompleteImage> found;
  for (const StoredImage& image : images_) {
    if (!image.complete) found.push_back({called(image), image.problem});
  }
  return found;
}

Result<std::size_t> forget_entries(const std::filesystem::path& store,
                                   const std::function<bool(const IndexEntry&)>& goes) {
  LB_ASSIGN(Json document, read_index(store));
  if (document.is_null()) return std::size_t{0};
  Json kept = Json::array();
  for (const Json& descriptor : document["manifests"]) {
    if (!goes(entry_of(descriptor))) kept.push_back(descriptor);
  }
  const std::size_t forgotten = document["manifests"].size() - kept.size();
  if (forgotten == 0) return forgotten;
  document["manifests"] = std::move(kept);
  LB_TRY(write_index(store, document));
  return forgotten;
}

Result<std::size_t> forget_images(const std::filesystem::path& store, const std::vector<std::string>& names) {
  return forget_entries(
      store, [&](const IndexEntry& entry) { return std::ranges::find(names, entry.name) != names.end(); });
}

Result<void> put_entry(const std::filesystem::path& store, Json descriptor, const IndexEntry& entry) {
  LB_ASSIGN(Json document, read_index(store));
  if (document.is_null()) document = {{"schemaVersion", 2}, {"manifests", Json::array()}};
  Json annotations = Json::object();
  if (const Json* const given = store::find_member(descriptor, "annotations");
      given != nullptr && given->is_object())
    annotations = *given;
  for (const auto& [key, value] :
       {std::pair(kRefName, entry.name), std::pair(kRegistryDigest, entry.registry_digest),
        std::pair(kSource, entry.source)}) {
    if (value.empty()) {
      annotations.erase(key);
    } else {
      annotations[key] = value;
    }
  }
  annotations.erase(kFormerName);
  if (annotations.empty()) {
    descriptor.erase("annotations");
  } else {
    descriptor["annotations"] = std::move(annotations);
  }
  const std::string digest = entry_of(descriptor).digest;
  Json kept = Json::array();
  for (Json& other : document["manifests"]) {
    const IndexEntry before = entry_of(other);
    if (entry.name.empty()) {
      if (before.name.empty() && before.digest == digest) continue;
    } else if (before.name == entry.name) {
      if (before.digest == digest) continue;
      other["annotations"].erase(kRefName);
      other["annotations"][kFormerName] = entry.name;
    } else if (before.name.empty() && before.former_name == entry.name && before.digest == digest) {
      continue;  // it has its name back
    }
    kept.push_back(std::move(other));
  }
  kept.push_back(std::move(descriptor));
  document["manifests"] = std::move(kept);
  std::error_code ignored;
  if (!std::filesystem::exists(store / "oci-layout", ignored)) {
    LB_ASSIGN(auto layout, AtomicFile::create(store / "oci-layout"));
    LB_TRY(layout.append(as_bytes(std::string_view(R"({"imageLayoutVersion":"1.0.0"})"))));
    LB_TRY(layout.commit());
  }
  return write_index(store, document);
}

Result<Json> find_descriptor(const std::filesystem::path& store,
                             const std::function<bool(const IndexEntry&)>& wanted) {
  LB_ASSIGN(const Json document, read_index(store));
  if (!document.is_null()) {
    for (const Json& descriptor : document["manifests"]) {
      if (wanted(entry_of(descriptor))) return descriptor;
    }
  }
  return fail(ENOENT, "no such image in the local store ", store.string());
}

Result<Json> find_descriptor(const std::filesystem::path& store, const IndexEntry& entry) {
  return find_descriptor(store, [&](const IndexEntry& other) { return is_same(other, entry); });
}

bool is_same(const IndexEntry& a, const IndexEntry& b) { return a.name == b.name && a.digest == b.digest; }

}  // namespace layerboot::launcher
