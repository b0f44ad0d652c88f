#include "oci-mount/base/mapping.h"

#include <sys/mman.h>
#include <sys/stat.h>

#include <utility>

namespace layerboot {

Mapping::Mapping(Mapping&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_bytes_(std::exchange(other.size_bytes_, 0)) {}

Mapping& Mapping::operator=(Mapping&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_bytes_, other.size_bytes_);
  return *this;
}

Mapping::~Mapping() {
  if (data_ != nullptr) ::munmap(data_, size_bytes_);
}

Result<Mapping> Mapping::read_only(int fd) {
  struct stat st{};
  if (::fstat(fd, &st) != 0) return errno_error("fstat");
  if (st.st_size == 0) return Mapping();
  const auto size_bytes = static_cast<std::size_t>(st.st_size);
  void* data = ::mmap(nullptr, size_bytes, PROT_READ, MAP_SHARED, fd, 0);
  if (data == MAP_FAILED) return errno_error("mmap of ", size_bytes, " bytes");
  return Mapping(static_cast<std::byte*>(data), size_bytes);
}

Result<Mapping> Mapping::shared(int fd, std::uint64_t offset, std::size_t size_bytes) {
  if (size_bytes == 0) return fail(EINVAL, "mmap of an empty region");
  void* data = ::mmap(nullptr, size_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd,
                      static_cast<off_t>(offset));
  if (data == MAP_FAILED) return errno_error("mmap of ", size_bytes, " bytes of guest memory");
  ::madvise(data, size_bytes, MADV_DONTDUMP);
  ::madvise(data, size_bytes, MADV_DONTFORK);
  return Mapping(static_cast<std::byte*>(data), size_bytes);
}

Result<Mapping> Mapping::anonymous(std::size_t size_bytes) {
  void* data =
      ::mmap(nullptr, size_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (data == MAP_FAILED) return errno_error("mmap of ", size_bytes, " bytes");
  ::madvise(data, size_bytes, MADV_HUGEPAGE);
  return Mapping(static_cast<std::byte*>(data), size_bytes);
}

}  // namespace layerboot
