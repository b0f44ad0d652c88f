#include "oci-mount/store/blob.h"

#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "oci-mount/base/files.h"

namespace layerboot::store {

Result<std::shared_ptr<const FileBlob>> FileBlob::open(const std::filesystem::path& path, std::string name) {
  // O_NONBLOCK: a fifo in a blob's place must not hold us up.
  auto fd = open_path(path, O_RDONLY | O_NONBLOCK);
  if (!fd) return while_doing(fd.error(), name);
  struct stat st{};
  if (::fstat(fd->get(), &st) != 0) return errno_error("fstat of ", path.string());
  if (!S_ISREG(st.st_mode)) return fail(EINVAL, name, ": ", path.string(), " is not a regular file");
  return std::shared_ptr<const FileBlob>(
      new FileBlob(std::move(*fd), static_cast<std::uint64_t>(st.st_size), std::move(name)));
}

Task<Result<std::size_t>> FileBlob::read_at(Reactor& reactor, std::uint64_t offset,
                                            std::span<const iovec> into) const {
  const auto slices = into.first(std::min<std::size_t>(into.size(), IOV_MAX));
  auto got = co_await reactor.readv(fd_.get(), slices, offset);
  if (!got) co_return while_doing(got.error(), "read of ", name_, " at ", offset);
  co_return *got;
}

Result<std::size_t> FileBlob::read_blocking(std::uint64_t offset, std::span<std::byte> into) const {
  for (;;) {
    const ssize_t got = ::pread(fd_.get(), into.data(), into.size(), static_cast<off_t>(offset));
    if (got >= 0) return static_cast<std::size_t>(got);
    if (errno != EINTR) return errno_error("read of ", name_, " at ", offset);
  }
}

}  // namespace layerboot::store
