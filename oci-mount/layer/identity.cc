#include "oci-mount/layer/identity.h"

#include <xxhash.h>

#include <algorithm>
#include <cstring>

#include "oci-mount/base/bytes.h"

namespace layerboot::layer {

namespace {

store::HashAlgorithm algorithm_of(IdentityKind kind) {
  return kind == IdentityKind::kSha512 ? store::HashAlgorithm::kSha512 : store::HashAlgorithm::kSha256;
}

std::string hash_text(std::span<const std::byte> bytes) {
  const XXH128_hash_t hash = ::XXH3_128bits(bytes.data(), bytes.size());
  std::string text;
  for (const std::uint64_t half : {hash.high64, hash.low64}) {
    for (int shift = 60; shift >= 0; shift -= 4)
      text += "0123456789abcdef"[half >> static_cast<unsigned>(shift) & 15U];
  }
  return text;
}

}  // namespace

IdentityRecord identity_record(const store::Digest& digest) {
  IdentityRecord record;
  record.kind =
      digest.algorithm() == store::HashAlgorithm::kSha256 ? IdentityKind::kSha256 : IdentityKind::kSha512;
  std::copy(digest.bytes().begin(), digest.bytes().end(), record.bytes.begin());
  return record;
}

store::Digest digest_in(const IdentityRecord& record) {
  const auto algorithm = algorithm_of(record.kind);
  const std::size_t size = algorithm == store::HashAlgorithm::kSha256 ? 32 : 64;
  auto digest = store::Digest::from_bytes(algorithm, std::span(record.bytes).first(size));
  return *digest;
}

LayerIdentity LayerIdentity::of_blob(const store::Digest& digest) {
  LayerIdentity identity;
  identity.record_ = identity_record(digest);
  return identity;
}

LayerIdentity LayerIdentity::of_file(const struct stat& st) {
  const std::array<std::uint64_t, 5> parts{
      static_cast<std::uint64_t>(st.st_dev), static_cast<std::uint64_t>(st.st_ino),
      static_cast<std::uint64_t>(st.st_size), static_cast<std::uint64_t>(st.st_mtim.tv_sec),
      static_cast<std::uint64_t>(st.st_mtim.tv_nsec)};
  LayerIdentity identity;
  identity.record_.kind = IdentityKind::kLocalFile;
  std::memcpy(identity.record_.bytes.data(), parts.data(), sizeof(parts));
  return identity;
}

LayerIdentity LayerIdentity::of_directory(std::uint64_t hash_high, std::uint64_t hash_low) {
  const std::array parts{hash_high, hash_low};
  LayerIdentity identity;
  identity.record_.kind = IdentityKind::kDirectory;
  std::memcpy(identity.record_.bytes.data(), parts.data(), sizeof(parts));
  return identity;
}

LayerIdentity LayerIdentity::of_record(const IdentityRecord& record) {
  LayerIdentity identity;
  identity.record_ = record;
  return identity;
}

std::string LayerIdentity::text() const {
  if (record_.kind == IdentityKind::kLocalFile) return str_cat("file:", hash_text(record_.bytes));
  if (record_.kind == IdentityKind::kDirectory) return str_cat("dir:", hash_text(record_.bytes));
  return digest_in(record_).text();
}

std::string LayerIdentity::index_file_name() const {
  if (record_.kind == IdentityKind::kLocalFile) return str_cat("file-", hash_text(record_.bytes), ".lidx");
  if (record_.kind == IdentityKind::kDirectory) return str_cat("dir-", hash_text(record_.bytes), ".lidx");
  return str_cat(digest_in(record_).file_name(), ".lidx");
}

}  // namespace layerboot::layer
