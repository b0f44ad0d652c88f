#include "launcher/images/blob_check.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <optional>
#include <span>
#include <system_error>

#include "launcher/host/run_tool.h"
#include "launcher/images/stored_documents.h"
#include "oci-mount/base/files.h"
#include "oci-mount/base/progress.h"

namespace layerboot::launcher {

namespace {

constexpr std::size_t kPieceBytes = std::size_t{1} << 20;

struct Opened {
  store::Digest digest;
  UniqueFd fd;
};

Result<store::Digest> hash_of(const Opened& blob, std::uint64_t& done_bytes,
                              std::optional<Progress>& progress) {
  LB_ASSIGN(auto hasher, store::Hasher::create(blob.digest.algorithm()));
  std::vector<std::byte> piece(kPieceBytes);
  while (true) {
    LB_TRY(InterruptScope::check());
    const ssize_t got = ::read(blob.fd.get(), piece.data(), piece.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return errno_error("cannot read blob ", blob.digest.text());
    if (got == 0) break;
    hasher.update(std::span(piece).first(static_cast<std::size_t>(got)));
    done_bytes += static_cast<std::uint64_t>(got);
    if (progress) progress->update(done_bytes);
  }
  return hasher.finish();
}

}  // namespace

Result<std::vector<BlobFinding>> check_blobs(const std::filesystem::path& store,
                                             const std::vector<std::string>& digests,
                                             const std::string& label) {
  const InterruptScope interruptible;
  std::vector<BlobFinding> findings;
  std::vector<Opened> blobs;
  std::uint64_t total_bytes = 0;
  for (const std::string& text : digests) {
    LB_ASSIGN(const auto digest, store::Digest::parse(text));
    auto fd = open_path(blob_path(store, digest), O_RDONLY);
    if (!fd && fd.error().code != ENOENT) return std::unexpected(fd.error());
    if (!fd) {
      findings.push_back({.digest = text, .missing = true, .what = str_cat("blob ", text, " is missing")});
      continue;
    }
    struct stat st{};
    if (::fstat(fd->get(), &st) == 0) total_bytes += static_cast<std::uint64_t>(st.st_size);
    blobs.push_back({digest, std::move(*fd)});
  }
  std::optional<Progress> progress;
  if (!label.empty()) progress.emplace(label, total_bytes);
  std::uint64_t done_bytes = 0;
  for (const Opened& blob : blobs) {
    const auto hash = hash_of(blob, done_bytes, progress);
    if (!hash && hash.error().code == EINTR) return std::unexpected(hash.error());
    if (hash && *hash == blob.digest) continue;
    const std::string text = blob.digest.text();
    findings.push_back({.digest = text,
                        .missing = false,
                        .what = hash ? str_cat("blob ", text, " is damaged: its bytes hash to ", hash->text())
                                     : hash.error().describe()});
  }
  return findings;
}

Result<SetAside> SetAside::move(const std::filesystem::path& store, const std::vector<BlobFinding>& wrong,
                                const std::filesystem::path& directory) {
  SetAside aside;
  for (const BlobFinding& finding : wrong) {
    if (finding.missing) continue;
    LB_ASSIGN(const auto digest, store::Digest::parse(finding.digest));
    Moved moved{blob_path(store, digest), directory / digest.file_name()};
    if (::rename(moved.from.c_str(), moved.to.c_str()) != 0)
      return errno_error("cannot move ", moved.from.string(), " out of the way");
    aside.moved_.push_back(std::move(moved));
  }
  return aside;
}

SetAside::~SetAside() {
  for (const Moved& moved : moved_) {
    std::error_code ignored;
    if (std::filesystem::exists(moved.from, ignored)) continue;
    std::filesystem::rename(moved.to, moved.from, ignored);
  }
}

}  // namespace layerboot::launcher
