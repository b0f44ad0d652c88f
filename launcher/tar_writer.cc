#include "launcher/tar_writer.h"

#include <cstdio>
#include <cstring>

namespace layerboot::launcher {

namespace {

constexpr std::size_t kBlockBytes = 512;
constexpr std::size_t kMaxContentBytes = std::size_t{1} << 20;

struct UstarHeader {
  char name[100];
  char mode[8];
  char uid[8];
  char gid[8];
  char size[12];
  char mtime[12];
  char checksum[8];
  char type;
  char link_name[100];
  char magic[6];
  char version[2];
  char owner[32];
  char group[32];
  char device_major[8];
  char device_minor[8];
  char prefix[155];
  char padding[12];
};
static_assert(sizeof(UstarHeader) == kBlockBytes);

/// Octal digits filling all of `field` but its closing NUL.
template <std::size_t Size>
void put_octal(char (&field)[Size], std::uint64_t value) {
  for (std::size_t i = Size - 1; i-- > 0; value >>= 3U) field[i] = static_cast<char>('0' + (value & 7U));
}

template <std::size_t Size>
void put_text(char (&field)[Size], std::string_view text) {
  std::memcpy(field, text.data(), text.size() < Size ? text.size() : Size);
}

}  // namespace

Result<void> TarWriter::add_file(std::string_view path, std::string_view content, unsigned mode) {
  if (path.size() > sizeof(UstarHeader::name)) return fail(ENAMETOOLONG, "tar entry ", path);
  if (content.size() > kMaxContentBytes) return fail(EFBIG, "tar entry ", path);
  UstarHeader header{};
  put_text(header.name, path);
  put_octal(header.mode, mode);
  put_octal(header.uid, 0);
  put_octal(header.gid, 0);
  put_octal(header.size, content.size());
  put_octal(header.mtime, 0);
  header.type = '0';
  put_text(header.magic, "ustar");
  put_text(header.version, "00");
  put_octal(header.device_major, 0);
  put_octal(header.device_minor, 0);
  // The checksum counts its own field as blanks, and ends in NUL and blank.
  std::memset(header.checksum, ' ', sizeof(header.checksum));
  unsigned sum = 0;
  for (std::size_t i = 0; i < kBlockBytes; ++i) sum += reinterpret_cast<const unsigned char*>(&header)[i];
  char digits[7] = {};
  put_octal(digits, sum);
  std::memcpy(header.checksum, digits, sizeof(digits));

  archive_.append(reinterpret_cast<const char*>(&header), kBlockBytes);
  archive_ += content;
  archive_.resize((archive_.size() + kBlockBytes - 1) / kBlockBytes * kBlockBytes, '\0');
  return {};
}

std::string TarWriter::finish() {
  archive_.append(2 * kBlockBytes, '\0');
  return std::exchange(archive_, {});
}

}  // namespace layerboot::launcher
