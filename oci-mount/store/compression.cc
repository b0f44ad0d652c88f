#include "oci-mount/store/compression.h"

#include <algorithm>
#include <array>
#include <span>

#include "oci-mount/base/bytes.h"

namespace layerboot::store {

namespace {

struct Other {
  std::string_view magic;
  std::string_view name;
};
/// Long enough that no tar begins so: it begins with a name and zeroes.
constexpr std::array kOthers{Other{"1AY&SY", "bzip2"},
                             Other{"\xfd"
                                   "7zXZ",
                                   "xz"},
                             Other{"LZIP\x01", "lzip"}, Other{std::string_view("\x5d\0\0\x80\0", 5), "lzma"}};
constexpr std::size_t kBzip2LevelBytes = 4;  // "BZh9" before its block's magic

}  // namespace

Result<Compression> compression_of(std::string_view first_bytes) {
  if (first_bytes.starts_with("\x1f\x8b")) return Compression::kGzip;
  if (first_bytes.starts_with("\x28\xb5\x2f\xfd")) return Compression::kZstd;
  // A skippable frame, 0x184d2a50 to 0x184d2a5f.
  if (first_bytes.size() >= 4 && (static_cast<unsigned char>(first_bytes[0]) & 0xf0U) == 0x50 &&
      first_bytes.substr(1, 3) == "\x2a\x4d\x18") {
    return Compression::kZstd;
  }
  if (first_bytes.starts_with("BZh"))
    first_bytes.remove_prefix(std::min(first_bytes.size(), kBzip2LevelBytes));
  for (const auto& [magic, name] : kOthers) {
    if (!first_bytes.starts_with(magic)) continue;
    return fail(ENOTSUP, "it is compressed with ", name,
                ", which is not read; convert the image with: skopeo copy SOURCE oci:DIR:TAG");
  }
  return Compression::kNone;
}

Result<Compression> compression_of(const Blob& blob) {
  std::array<std::byte, kMagicBytes> first{};
  std::size_t filled = 0;
  while (filled < first.size()) {
    LB_ASSIGN(const std::size_t got, blob.read_blocking(filled, std::span(first).subspan(filled)));
    if (got == 0) break;
    filled += got;
  }
  return compression_of(as_text(std::span(first).first(filled)));
}

}  // namespace layerboot::store
