#include "launcher/images/build_cache.h"

#include <algorithm>
#include <set>
#include <system_error>
#include <utility>

#include "launcher/images/store_index.h"
#include "oci-mount/base/bytes.h"
#include "oci-mount/base/files.h"
#include "oci-mount/base/str_cat.h"

namespace layerboot::launcher {

namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMaxDigestBytes = 256;

std::string read_digest(const fs::path& file) {
  auto text = read_file(file, kMaxDigestBytes);
  return text ? text->substr(0, text->find('\n')) : std::string();
}

}  // namespace

Result<StepKey> StepKey::begin(std::string_view base) {
  LB_ASSIGN(auto hasher, store::Hasher::create(store::HashAlgorithm::kSha256));
  StepKey key(std::move(hasher));
  key.add("build --vm 3");
  key.add(base);
  return key;
}

void StepKey::add(std::string_view text) {
  hasher_.update(as_bytes(str_cat(text.size(), ':')));
  hasher_.update(as_bytes(text));
}

std::string StepKey::finish() { return hasher_.finish().hex(); }

Result<BuildCache> BuildCache::open(const fs::path& directory, const fs::path& store) {
  LB_TRY(make_directories(directory, 0700));
  LB_ASSIGN(const auto entries, read_entries(store));
  std::set<std::string, std::less<>> known;
  for (const IndexEntry& entry : entries) known.insert(entry.digest);
  std::error_code ignored;
  for (const auto& file : fs::directory_iterator(directory, ignored)) {
    if (!known.contains(read_digest(file.path()))) fs::remove(file.path(), ignored);
  }
  return BuildCache(directory, store);
}

std::optional<std::string> BuildCache::find(const std::string& key) const {
  const std::string digest = read_digest(directory_ / key);
  if (digest.empty()) return {};
  const auto entries = read_entries(store_);
  if (!entries) return {};
  const auto entry = std::ranges::find(*entries, digest, &IndexEntry::digest);
  if (entry == entries->end() || look_at_image(store_, *entry).state == ImageState::kIncomplete) return {};
  return digest;
}

Result<void> BuildCache::keep(const std::string& key, const std::string& digest) const {
  return write_whole_file(directory_ / key, str_cat(digest, '\n'));
}

}  // namespace layerboot::launcher
