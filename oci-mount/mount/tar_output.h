// TarOutput: the bytes of a tar, in large pieces: most members are smaller than a page.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "oci-mount/base/bytes.h"
#include "oci-mount/base/reactor.h"
#include "oci-mount/base/result.h"
#include "oci-mount/overlay/lower.h"

namespace layerboot::mount {

/// Takes the next bytes of an output.
using PutBytes = std::function<Result<void>(std::span<const std::byte>)>;

class TarOutput {
 public:
  explicit TarOutput(PutBytes put) : put_(std::move(put)), buffer_(kBufferBytes) {}

  Result<void> put(std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
      LB_TRY(make_room());
      const auto piece = bytes.first(std::min(bytes.size(), buffer_.size() - filled_));
      std::copy(piece.begin(), piece.end(), buffer_.begin() + static_cast<std::ptrdiff_t>(filled_));
      filled_ += piece.size();
      bytes = bytes.subspan(piece.size());
    }
    return {};
  }
  Result<void> put_zeros(std::size_t count) { return put(as_bytes(std::string(count, '\0'))); }

  /// The data of a member, `size_bytes` of it, and the padding behind. `read` fills what it is given from an
  /// offset on, at least one byte of it; 0 where there is no more: EIO.
  template <typename Read>
  Result<void> put_data(std::uint64_t size_bytes, Read read) {
    for (std::uint64_t offset = 0; offset < size_bytes;) {
      LB_TRY(make_room());
      const auto room = std::span(buffer_).subspan(filled_);
      const std::size_t wanted =
          static_cast<std::size_t>(std::min<std::uint64_t>(room.size(), size_bytes - offset));
      LB_ASSIGN(const std::size_t got, read(offset, room.first(wanted)));
      if (got == 0) return fail(EIO, "ends before its size");
      filled_ += got;
      offset += got;
    }
    return put_zeros(padding(size_bytes));
  }

  Result<void> flush() {
    LB_TRY(put_(std::span(buffer_).first(filled_)));
    filled_ = 0;
    return {};
  }

 private:
  static constexpr std::size_t kBufferBytes = 1024 * 1024;

  static std::size_t padding(std::uint64_t size_bytes);
  Result<void> make_room() { return filled_ < buffer_.size() ? Result<void>() : flush(); }

  PutBytes put_;
  std::vector<std::byte> buffer_;
  std::size_t filled_ = 0;
};

/// Reads a file of the image, for put_data().
Result<std::size_t> read_lower(const overlay::Lower& lower, Reactor& reactor, tree::NodeId id,
                               std::uint64_t offset, std::span<std::byte> into);

/// Whether a tar can hold an extended attribute of that name. Warned of where not; `path` is the object's.
bool fits_tar(std::string_view path, std::string_view xattr_name);

}  // namespace layerboot::mount
