#include "oci-mount/layer/directory_blob.h"

#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "oci-mount/base/files.h"
#include "oci-mount/base/io_slices.h"

namespace layerboot::layer {

const WalkedFile& DirectoryBlob::file_at(std::uint64_t offset) const {
  const auto after =
      std::upper_bound(files_.begin(), files_.end(), offset,
                       [](std::uint64_t at, const WalkedFile& file) { return at < file.stream_offset; });
  return *(after - 1);
}

std::shared_ptr<const UniqueFd> DirectoryBlob::find_open(const WalkedFile& file) const {
  const std::lock_guard lock(mutex_);
  const auto found =
      std::find_if(opened_.begin(), opened_.end(), [&](const Opened& one) { return one.file == &file; });
  if (found == opened_.end()) return nullptr;
  opened_.splice(opened_.begin(), opened_, found);
  return found->fd;
}

void DirectoryBlob::keep_open(const WalkedFile& file, std::shared_ptr<const UniqueFd> fd) const {
  const std::lock_guard lock(mutex_);
  opened_.push_front({&file, std::move(fd)});
  if (opened_.size() > kMaxOpenFiles) opened_.pop_back();
}

Result<std::shared_ptr<const UniqueFd>> DirectoryBlob::open(const WalkedFile& file) const {
  std::shared_ptr<const UniqueFd> fd = find_open(file);
  if (!fd) {
    // O_NONBLOCK: a fifo in the file's place must not hold us up.
    auto opened =
        open_beneath(directory_.get(), file.path.c_str(), O_RDONLY | O_NONBLOCK, 0, OtherMounts::kEntered);
    if (!opened) return fail(EIO, name_, "/", file.path, ": ", opened.error().describe());
    fd = std::make_shared<const UniqueFd>(std::move(*opened));
    keep_open(file, fd);
  }
  struct stat st{};
  if (::fstat(fd->get(), &st) != 0) return errno_error("fstat of ", name_, "/", file.path);
  if (!S_ISREG(st.st_mode) || FileStamp::of(st) != file.stamp)
    return fail(EIO, name_, "/", file.path, " was changed since it was walked: start again to serve it");
  return fd;
}

Task<Result<std::size_t>> DirectoryBlob::read_at(Reactor& reactor, std::uint64_t offset,
                                                 std::span<const iovec> into) const {
  if (offset >= size_bytes_ || into.empty()) co_return std::size_t{0};
  const WalkedFile& file = file_at(offset);
  LB_CO_ASSIGN(const auto fd, open(file));
  const std::uint64_t in_file = offset - file.stream_offset;
  const std::uint64_t left = file.stamp.size_bytes - in_file;
  auto slices = into.first(std::min<std::size_t>(into.size(), IOV_MAX));
  std::vector<iovec> cut;  // used only where the file ends first
  if (total_bytes(slices) > left) {
    cut = sub_slices(slices, 0, left);
    slices = cut;
  }
  auto got = co_await reactor.readv(fd->get(), slices, in_file);
  if (!got) co_return while_doing(got.error(), "read of ", name_, "/", file.path);
  if (*got == 0) co_return fail(EIO, name_, "/", file.path, " became shorter while it was read");
  co_return *got;
}

Result<std::size_t> DirectoryBlob::read_blocking(std::uint64_t offset, std::span<std::byte> into) const {
  if (offset >= size_bytes_) return std::size_t{0};
  const WalkedFile& file = file_at(offset);
  LB_ASSIGN(const auto fd, open(file));
  const std::uint64_t in_file = offset - file.stream_offset;
  const std::size_t wanted = std::min<std::uint64_t>(into.size(), file.stamp.size_bytes - in_file);
  for (;;) {
    const ssize_t got = ::pread(fd->get(), into.data(), wanted, static_cast<off_t>(in_file));
    if (got == 0) return fail(EIO, name_, "/", file.path, " became shorter while it was read");
    if (got > 0) return static_cast<std::size_t>(got);
    if (errno != EINTR) return errno_error("read of ", name_, "/", file.path);
  }
}

}  // namespace layerboot::layer
