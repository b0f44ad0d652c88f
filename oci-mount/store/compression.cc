#include "oci-mount/store/compression.h"

#include <array>
#include <span>

#include "oci-mount/base/bytes.h"

namespace layerboot::store {

namespace {

struct Other {
  std::string_view magic;
  std::string_view name;
};
// All magics are long enough that no tar begins so: it begins with a name and zeroes.
constexpr std::array kOthers{Other{"LZIP\x01", "lzip"}, Other{std::string_view("\x5d\0\0\x80\0", 5), "lzma"},
                             Other{"\x04\x22\x4d\x18", "lz4"}, Other{"PK\x03\x04", "zip"},
                             // With 16 bits at most, as compress(1) writes it.
                             Other{"\x1f\x9d\x90", "compress (.Z)"}};

/// "BZh9", and the magic of a block, or of the end where there is none.
bool is_bzip2(std::string_view bytes) {
  constexpr std::size_t kLevelBytes = 4;
  if (!bytes.starts_with("BZh") || bytes.size() < kLevelBytes) return false;
  const auto behind = bytes.substr(kLevelBytes);
  return behind.starts_with("1AY&SY") || behind.starts_with("\x17rE8P\x90");
}

}  // namespace

Result<Compression> compression_of(std::string_view first_bytes) {
  if (first_bytes.starts_with("\x1f\x8b")) return Compression::kGzip;
  if (first_bytes.starts_with("\x28\xb5\x2f\xfd")) return Compression::kZstd;
  // A skippable frame, 0x184d2a50 to 0x184d2a5f.
  if (first_bytes.size() >= 4 && (static_cast<unsigned char>(first_bytes[0]) & 0xf0U) == 0x50 &&
      first_bytes.substr(1, 3) == "\x2a\x4d\x18") {
    return Compression::kZstd;
  }
  if (first_bytes.starts_with("\xfd"
                              "7zXZ"))
    return Compression::kXz;
  if (is_bzip2(first_bytes)) return Compression::kBzip2;
  for (const auto& [magic, name] : kOthers) {
    if (!first_bytes.starts_with(magic)) continue;
    return fail(ENOTSUP, "it is compressed with ", name, ", which is not read; gzip, zstd, xz and bzip2 are");
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
