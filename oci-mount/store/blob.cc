#include "oci-mount/store/blob.h"

#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "oci-mount/base/files.h"
#include "oci-mount/base/io_slices.h"

namespace layerboot::store {

Result<std::shared_ptr<const FileBlob>> FileBlob::open(const std::filesystem::path& path, std::string name) {
  // O_NONBLOCK: a fifo in a blob's place must not hold us up.
  auto fd = open_path(path, O_RDONLY | O_NONBLOCK);
  if (!fd) return while_doing(fd.error(), name);
  struct stat st{};
  if (::fstat(fd->get(), &st) != 0) return errno_error("fstat of ", path.string());
  if (!S_ISREG(st.st_mode)) return fail(EINVAL, name, ": ", path.string(), " is not a regular file");
  return adopt(std::move(*fd), 0, static_cast<std::uint64_t>(st.st_size), std::move(name));
}

std::shared_ptr<const FileBlob> FileBlob::adopt(UniqueFd fd, std::uint64_t file_offset,
                                                std::uint64_t size_bytes, std::string name) {
  return std::shared_ptr<const FileBlob>(new FileBlob(std::make_shared<const UniqueFd>(std::move(fd)),
                                                      file_offset, size_bytes, std::move(name)));
}

std::shared_ptr<const FileBlob> FileBlob::part(std::uint64_t offset, std::uint64_t size_bytes,
                                               std::string name) const {
  return std::shared_ptr<const FileBlob>(
      new FileBlob(fd_, file_offset_ + offset, size_bytes, std::move(name)));
}

Task<Result<std::size_t>> FileBlob::read_at(Reactor& reactor, std::uint64_t offset,
                                            std::span<const iovec> into) const {
  const std::uint64_t left = size_bytes_ - std::min(offset, size_bytes_);
  auto slices = into.first(std::min<std::size_t>(into.size(), IOV_MAX));
  std::vector<iovec> cut;  // used only at the blob's end, where the file may go on
  if (total_bytes(slices) > left) {
    cut = sub_slices(slices, 0, left);
    slices = cut;
  }
  if (slices.empty()) co_return std::size_t{0};
  auto got = co_await reactor.readv(fd_->get(), slices, file_offset_ + offset);
  if (!got) co_return while_doing(got.error(), "read of ", name_, " at ", offset);
  co_return *got;
}

Result<std::size_t> FileBlob::read_blocking(std::uint64_t offset, std::span<std::byte> into) const {
  const std::uint64_t left = size_bytes_ - std::min(offset, size_bytes_);
  const std::size_t wanted = std::min<std::uint64_t>(into.size(), left);
  for (;;) {
    const ssize_t got = ::pread(fd_->get(), into.data(), wanted, static_cast<off_t>(file_offset_ + offset));
    if (got >= 0) return static_cast<std::size_t>(got);
    if (errno != EINTR) return errno_error("read of ", name_, " at ", offset);
  }
}

}  // namespace layerboot::store
