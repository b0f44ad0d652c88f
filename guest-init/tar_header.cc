#include "guest-init/tar_header.h"

#include <algorithm>
#include <cstring>
#include <string_view>

namespace guest_init {

namespace {

struct Field {
  std::size_t at;
  std::size_t size;
};

constexpr Field kName{0, 100};
constexpr Field kMode{100, 8};
constexpr Field kUid{108, 8};
constexpr Field kGid{116, 8};
constexpr Field kSize{124, 12};
constexpr Field kMtime{136, 12};
constexpr Field kChecksum{148, 8};
constexpr std::size_t kTypeAt = 156;
constexpr Field kTarget{157, 100};
constexpr Field kMagicField{257, 8};
constexpr Field kMajor{329, 8};
constexpr Field kMinor{337, 8};
constexpr Field kPrefix{345, 155};
constexpr std::string_view kGnuMagic("ustar  \0", 8);
constexpr char kBinary = static_cast<char>(0x80);

void put_text(char* block, Field field, std::string_view text) {
  std::memcpy(block + field.at, text.data(), std::min(text.size(), field.size));
}

/// Octal with a NUL, or where that is too small (or the number below 0) GNU's binary.
void put_number(char* block, Field field, std::int64_t number) {
  char* end = block + field.at + field.size;
  const int octal_bits = static_cast<int>(field.size - 1) * 3;
  if (number >= 0 && (octal_bits >= 63 || number < (std::int64_t{1} << octal_bits))) {
    *--end = '\0';
    while (end > block + field.at) {
      *--end = static_cast<char>('0' + (number & 7));
      number >>= 3;
    }
    return;
  }
  while (end > block + field.at) {
    *--end = static_cast<char>(number & 0xff);
    number >>= 8;
  }
  *end = static_cast<char>(*end | kBinary);
}

std::string get_text(const char* block, Field field) {
  return {block + field.at, strnlen(block + field.at, field.size)};
}

std::int64_t get_number(const char* block, Field field) {
  const char* at = block + field.at;
  std::uint64_t number = 0;
  if ((*at & kBinary) != 0) {
    // The sign is the bit below the mark.
    number = (*at & 0x40) != 0 ? ~std::uint64_t{0} : 0;
    for (std::size_t i = 0; i < field.size; ++i) {
      const auto byte = static_cast<unsigned char>(i == 0 && number == 0 ? at[i] & 0x7f : at[i]);
      number = number << 8U | byte;
    }
    return static_cast<std::int64_t>(number);
  }
  for (std::size_t i = 0; i < field.size; ++i) {
    if (at[i] >= '0' && at[i] <= '7') number = number << 3U | static_cast<unsigned>(at[i] - '0');
  }
  return static_cast<std::int64_t>(number);
}

/// As the checksum's own field were blanks.
std::int64_t checksum_of(const char* block) {
  std::int64_t sum = 0;
  for (std::size_t i = 0; i < kTarBlock; ++i) {
    const bool own = i >= kChecksum.at && i < kChecksum.at + kChecksum.size;
    sum += own ? ' ' : static_cast<unsigned char>(block[i]);
  }
  return sum;
}

std::string header(const TarEntry& entry) {
  std::string bytes(kTarBlock, '\0');
  char* block = bytes.data();
  put_text(block, kName, entry.name);
  put_number(block, kMode, entry.mode);
  put_number(block, kUid, entry.uid);
  put_number(block, kGid, entry.gid);
  put_number(block, kSize, static_cast<std::int64_t>(entry.size_bytes));
  put_number(block, kMtime, entry.mtime);
  block[kTypeAt] = static_cast<char>(entry.kind);
  put_text(block, kTarget, entry.target);
  put_text(block, kMagicField, kGnuMagic);
  put_number(block, kMajor, entry.major);
  put_number(block, kMinor, entry.minor);
  put_number(block, {kChecksum.at, kChecksum.size - 1}, checksum_of(block));
  block[kChecksum.at + kChecksum.size - 1] = ' ';
  return bytes;
}

std::string long_text(TarKind kind, const std::string& text) {
  TarEntry entry{.kind = kind, .name = "././@LongLink", .target = {}, .size_bytes = text.size() + 1};
  return header(entry) + text + std::string(1 + tar_padding(entry.size_bytes), '\0');
}

}  // namespace

std::string encode_tar_entry(const TarEntry& entry) {
  std::string bytes;
  if (entry.target.size() > kTarget.size) bytes += long_text(TarKind::kLongTarget, entry.target);
  if (entry.name.size() > kName.size) bytes += long_text(TarKind::kLongName, entry.name);
  return bytes + header(entry);
}

std::optional<TarEntry> decode_tar_block(const char (&block)[kTarBlock]) {
  if (std::all_of(block, block + kTarBlock, [](char c) { return c == '\0'; })) return TarEntry();
  if (get_number(block, kChecksum) != checksum_of(block)) return std::nullopt;
  TarEntry entry;
  entry.kind = block[kTypeAt] == '\0' ? TarKind::kFile : static_cast<TarKind>(block[kTypeAt]);
  entry.name = get_text(block, kName);
  // POSIX's own way with long names; GNU's header has other things there.
  const std::string prefix = get_text(block, kPrefix);
  const bool gnu = std::string_view(block + kMagicField.at, kMagicField.size) == kGnuMagic;
  if (!gnu && !prefix.empty()) entry.name = prefix + "/" + entry.name;
  entry.target = get_text(block, kTarget);
  entry.size_bytes = static_cast<std::uint64_t>(get_number(block, kSize));
  entry.mode = static_cast<mode_t>(get_number(block, kMode)) & 07777;
  entry.uid = static_cast<uid_t>(get_number(block, kUid));
  entry.gid = static_cast<gid_t>(get_number(block, kGid));
  entry.mtime = get_number(block, kMtime);
  entry.major = static_cast<std::uint32_t>(get_number(block, kMajor));
  entry.minor = static_cast<std::uint32_t>(get_number(block, kMinor));
  return entry;
}

}  // namespace guest_init
