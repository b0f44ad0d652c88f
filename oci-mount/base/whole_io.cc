#include "oci-mount/base/whole_io.h"

#include <vector>

#include "oci-mount/base/io_slices.h"

namespace layerboot {

namespace {

/// What is left of a list of slices. Allocates only after a short transfer.
class Rest {
 public:
  explicit Rest(std::span<const iovec> all) : all_(all), left_(all), wanted_(total_bytes(all)) {}

  [[nodiscard]] bool is_empty() const { return done_ == wanted_; }
  [[nodiscard]] std::span<const iovec> slices() const { return left_; }
  [[nodiscard]] std::size_t done_bytes() const { return done_; }

  void advance(std::size_t bytes) {
    done_ += bytes;
    if (is_empty()) return;
    sub_slices(all_, done_, wanted_ - done_, part_);
    left_ = part_;
  }

 private:
  std::span<const iovec> all_;
  std::span<const iovec> left_;
  std::vector<iovec> part_;
  std::size_t wanted_;
  std::size_t done_ = 0;
};

}  // namespace

Task<Result<std::size_t>> read_whole(Reactor& reactor, int fd, std::span<const iovec> into,
                                     std::uint64_t offset) {
  Rest rest(into);
  while (!rest.is_empty()) {
    auto got = co_await reactor.readv(fd, rest.slices(), offset + rest.done_bytes());
    if (!got) co_return std::unexpected(got.error());
    if (*got == 0) break;
    rest.advance(*got);
  }
  co_return rest.done_bytes();
}

Task<Result<std::size_t>> write_whole(Reactor& reactor, int fd, std::span<const iovec> from,
                                      std::uint64_t offset) {
  Rest rest(from);
  while (!rest.is_empty()) {
    auto put = co_await reactor.writev(fd, rest.slices(), offset + rest.done_bytes());
    if (!put && rest.done_bytes() == 0) co_return std::unexpected(put.error());
    if (!put || *put == 0) break;
    rest.advance(*put);
  }
  co_return rest.done_bytes();
}

}  // namespace layerboot
