#include "oci-mount/store/unpacked_archive.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "oci-mount/base/file_lock.h"
#include "oci-mount/base/files.h"
#include "oci-mount/base/log.h"
#include "oci-mount/base/progress.h"
#include "oci-mount/store/blob_digest.h"
#include "oci-mount/store/compression.h"
#include "oci-mount/store/unpack_child.h"

namespace layerboot::store {

namespace {

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
  Progress progress(str_cat("unpacking ", archive.name()), archive.size_bytes());
  const auto on_progress = [&progress](std::uint64_t bytes) { progress.update(bytes); };
  if (auto done = unpack_into(archive, compression, file.fd(), on_progress); !done) {
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
