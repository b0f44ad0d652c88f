#include "launcher/host/lent_descriptor.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "oci-mount/base/files.h"
#include "oci-mount/base/unique_fd.h"

namespace layerboot::launcher {

namespace {

constexpr int kFirstFree = 3;

/// A descriptor of the same file with status flags of its own, where there is a way to get one.
UniqueFd reopen(int fd, int access) {
  struct stat st{};
  // Not a regular file: reopened, it would be written from its start again.
  if (::fstat(fd, &st) != 0 || !(S_ISCHR(st.st_mode) || S_ISFIFO(st.st_mode))) return {};
  const std::string path = descriptor_path(fd);
  return UniqueFd(::open(path.c_str(), access | O_NONBLOCK | O_NOCTTY | O_CLOEXEC));
}

}  // namespace

LentDescriptor::LentDescriptor(boost::asio::io_context& io, int fd, int access) : stream_(io), lent_fd_(fd) {
  UniqueFd own = reopen(fd, access);
  if (!own) {
    saved_flags_ = ::fcntl(fd, F_GETFL);
    own = UniqueFd(::fcntl(fd, F_DUPFD_CLOEXEC, kFirstFree));
  }
  const int raw = own.get();
  stream_.assign(raw, error_);
  if (!error_) [[maybe_unused]]
    const int given = own.release();
}

LentDescriptor::~LentDescriptor() {
  boost::system::error_code ignored;
  stream_.close(ignored);
  if (saved_flags_ >= 0) ::fcntl(lent_fd_, F_SETFL, saved_flags_);
}

}  // namespace layerboot::launcher
