#include "oci-mount/store/blob_digest.h"

#include <sys/stat.h>

#include <vector>

#include "oci-mount/base/bytes.h"
#include "oci-mount/base/files.h"
#include "oci-mount/base/log.h"
#include "oci-mount/base/progress.h"

namespace layerboot::store {

namespace {

constexpr std::size_t kPieceBytes = 1U << 20U;
constexpr std::size_t kMaxKeptBytes = 256;

Result<Digest> hash(const FileBlob& blob) {
  LB_ASSIGN(auto hasher, Hasher::create(HashAlgorithm::kSha256));
  std::vector<std::byte> buffer(kPieceBytes);
  Progress progress(str_cat("hashing ", blob.name()), blob.size_bytes());
  for (std::uint64_t offset = 0; offset < blob.size_bytes();) {
    LB_ASSIGN(const std::size_t got, blob.read_blocking(offset, buffer));
    if (got == 0) return fail(EBADMSG, blob.name(), " became shorter while it was read");
    hasher.update(std::span(buffer).first(got));
    offset += got;
    progress.update(offset);
  }
  return hasher.finish();
}

Result<void> keep(const std::filesystem::path& path, const Digest& digest) {
  LB_TRY(make_directories(path.parent_path()));
  LB_ASSIGN(AtomicFile file, AtomicFile::create(path, 0444));
  LB_TRY(file.append(as_bytes(digest.text())));
  return file.commit();
}

}  // namespace

Result<std::string> local_key(const FileBlob& blob) {
  struct stat st{};
  if (::fstat(blob.fd(), &st) != 0) return errno_error("fstat of ", blob.name());
  const std::string identity =
      str_cat(st.st_dev, " ", st.st_ino, " ", st.st_size, " ", st.st_mtim.tv_sec, " ", st.st_mtim.tv_nsec,
              " ", blob.fd_offset(), " ", blob.size_bytes());
  LB_ASSIGN(const Digest digest, digest_of(HashAlgorithm::kSha256, as_bytes(identity)));
  return str_cat("file-", digest.hex());
}

Result<Digest> digest_of_blob(const FileBlob& blob, const std::filesystem::path& cache) {
  LB_ASSIGN(const std::string key, local_key(blob));
  const auto path = cache / (key + ".digest");
  if (const auto kept = read_file(path, kMaxKeptBytes)) {
    if (const auto digest = Digest::parse(*kept)) return *digest;
  }
  LB_ASSIGN(const Digest digest, hash(blob));
  if (const auto done = keep(path, digest); !done)
    log_info(done.error().describe(), "; the layer will be hashed again next time");
  return digest;
}

}  // namespace layerboot::store
