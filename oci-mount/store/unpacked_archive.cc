#include "oci-mount/store/unpacked_archive.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <span>
#include <vector>

#include "oci-mount/base/bytes.h"
#include "oci-mount/base/file_lock.h"
#include "oci-mount/base/files.h"
#include "oci-mount/base/host_room.h"
#include "oci-mount/base/interrupt.h"
#include "oci-mount/base/log.h"
#include "oci-mount/base/progress.h"
#include "oci-mount/store/blob_digest.h"
#include "oci-mount/store/compression.h"
#include "oci-mount/store/stream_decoder.h"
#include "oci-mount/store/tar_header.h"

namespace layerboot::store {

namespace {

constexpr std::size_t kPieceBytes = 256U << 10U;

/// Writes what is unpacked; leaves out pieces of zeroes, which become holes.
class SparseWriter {
 public:
  explicit SparseWriter(int fd) : fd_(fd), buffer_(kPieceBytes) {}

  std::span<std::byte> room() { return std::span(buffer_).subspan(filled_); }
  Result<void> take(std::size_t size_bytes) {
    filled_ += size_bytes;
    return filled_ == buffer_.size() ? flush() : Result<void>();
  }
  Result<void> finish() {
    LB_TRY(flush());
    if (::ftruncate(fd_, static_cast<off_t>(offset_)) != 0) return errno_error("ftruncate");
    return {};
  }

 private:
  Result<void> flush() {
    const auto piece = std::span(buffer_).first(filled_);
    if (offset_ == 0 && piece.size() >= kTarBlockBytes) LB_TRY(check_first_block(piece));
    if (offset_ + piece.size() > kMaxUnpackedBytes)
      return fail(E2BIG, "it unpacks to more than the limit of ", kMaxUnpackedBytes, " bytes");
    const bool zeroes = std::ranges::all_of(piece, [](std::byte byte) { return byte == std::byte{0}; });
    if (!zeroes) LB_TRY(write(piece));
    offset_ += piece.size();
    filled_ = 0;
    return {};
  }
  Result<void> write(std::span<const std::byte> piece) {
    if (unchecked_bytes_ >= kHostRoomStepBytes) {
      unchecked_bytes_ = 0;
      LB_TRY(check_host_room(fd_));
    }
    unchecked_bytes_ += piece.size();
    return write_all(fd_, piece, offset_);
  }
  /// What is no tar shows before it has filled the disk.
  static Result<void> check_first_block(std::span<const std::byte> piece) {
    const TarBlock block = piece.first<kTarBlockBytes>();
    if (is_zero_block(block)) return {};
    if (const auto header = parse_tar_header(block); !header)
      return while_doing(header.error(), "it unpacks to no tar");
    return {};
  }

  int fd_;
  std::vector<std::byte> buffer_;
  std::size_t filled_ = 0;
  std::uint64_t offset_ = 0;
  std::uint64_t unchecked_bytes_ = 0;  // written since the last look at how much room there is
};

Result<void> decode_into(const FileBlob& archive, Compression compression, int fd) {
  LB_ASSIGN(const auto decoder, StreamDecoder::create(compression));
  LB_TRY(check_host_room(fd));
  SparseWriter writer(fd);
  std::vector<std::byte> buffer(kPieceBytes);
  Progress progress(str_cat("unpacking ", archive.name()), archive.size_bytes());
  for (std::uint64_t offset = 0; offset < archive.size_bytes();) {
    LB_ASSIGN(const std::size_t got, archive.read_blocking(offset, buffer));
    if (got == 0) return fail(EBADMSG, "it became shorter while it was read");
    LB_TRY(check_interrupted());
    LB_TRY(decoder->decode_all(
        std::span(buffer).first(got), [&] { return writer.room(); },
        [&](std::size_t size_bytes) { return writer.take(size_bytes); }));
    offset += got;
    progress.update(offset);
  }
  LB_TRY(decoder->finish());
  return writer.finish();
}

/// Held while something is unpacked into the cache; given up with the process, however it ends.
Result<UniqueFd> lock_cache(const std::filesystem::path& cache) {
  LB_ASSIGN(UniqueFd fd, open_path(cache, O_RDONLY | O_DIRECTORY));
  auto locked = wait_for_lock(
      fd.get(), str_cat("another archive is being unpacked into ", cache.string(), ": waiting"));
  if (locked) return fd;
  const int code = locked.error().code;
  if (code == EOPNOTSUPP || code == ENOLCK || code == ENOSYS) return fd;
  if (code == EINTR) return std::unexpected(std::move(locked).error());
  return while_doing(locked.error(), "cannot lock ", cache.string());
}

/// Puts the archive at `to`, and gives it.
Result<std::shared_ptr<const TarArchive>> unpack(const FileBlob& archive, const std::filesystem::path& path,
                                                 Compression compression, const std::string& key,
                                                 const std::filesystem::path& to) {
  log_info(archive.name(), " is compressed with ", compression_name(compression),
           ": it is unpacked, once, into ", to.parent_path().string());
  LB_ASSIGN(AtomicFile file, AtomicFile::create(to, 0400));
  if (auto done = decode_into(archive, compression, file.fd()); !done) {
    if (done.error().code == EINTR) return std::unexpected(done.error());
    const bool room = done.error().code == ENOSPC;
    return while_doing(done.error(), archive.name(),
                       room ? str_cat(" can't be unpacked into ", to.parent_path().string()) : std::string());
  }
  LB_ASSIGN(const std::string key_now, local_key(archive));
  if (key_now != key) return fail(EBADMSG, archive.name(), " was changed while it was unpacked: try again");
  // Nothing is kept that is of no use.
  LB_ASSIGN(auto unpacked, FileBlob::open(descriptor_path(file.fd()), archive.name()));
  auto tar = TarArchive::read_from(std::move(unpacked), path);
  if (!tar) return while_doing(tar.error(), "what was unpacked can't be read");
  LB_TRY(file.commit());
  return tar;
}

}  // namespace

Result<OpenedArchive> open_archive(const std::filesystem::path& path, const std::filesystem::path& cache,
                                   Unpacking unpacking) {
  LB_ASSIGN(auto file, FileBlob::open(path, str_cat("archive ", path.string())));
  const auto compression = compression_of(*file);
  if (!compression) return while_doing(compression.error(), file->name());
  if (*compression == Compression::kNone) {
    LB_ASSIGN(auto tar, TarArchive::read_from(std::move(file), path));
    return OpenedArchive{std::move(tar), {}};
  }
  LB_ASSIGN(const std::string key, local_key(*file));
  const auto kept = cache / (key + ".tar");
  auto unpacked = FileBlob::open(kept, file->name());
  if (!unpacked) {
    if (unpacked.error().code != ENOENT) return std::unexpected(unpacked.error());
    if (unpacking == Unpacking::kNever) return fail(ENODATA, file->name(), " is not unpacked");
    LB_TRY(make_private_directory(cache));
    // One that others made may be open; nobody but its owner can, or needs to, close it.
    static_cast<void>(::chmod(cache.c_str(), 0700));
    LB_ASSIGN(const UniqueFd lock, lock_cache(cache));
    // Who held the lock before may have unpacked this very one.
    unpacked = FileBlob::open(kept, file->name());
    if (!unpacked) {
      LB_ASSIGN(auto tar, unpack(*file, path, *compression, key, kept));
      return OpenedArchive{std::move(tar), kept};
    }
  }
  if (!unpacked) return std::unexpected(unpacked.error());
  auto tar = TarArchive::read_from(std::move(*unpacked), path);
  if (!tar) return while_doing(tar.error(), "what it was unpacked into, ", kept.string());
  return OpenedArchive{std::move(*tar), kept};
}

}  // namespace layerboot::store
