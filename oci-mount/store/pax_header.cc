#include "oci-mount/store/pax_header.h"

#include <sys/stat.h>

#include <algorithm>
#include <cstring>

#include "oci-mount/base/mode_bits.h"
#include "oci-mount/base/str_cat.h"
#include "oci-mount/store/tar_header.h"

namespace layerboot::store {

namespace {

constexpr std::size_t kNameBytes = 100;
constexpr std::size_t kIdDigits = 7;
constexpr std::size_t kSizeDigits = 11;
constexpr std::size_t kChecksumOffset = 148;

bool fits_octal(std::uint64_t value, std::size_t digits) { return value >> (3 * digits) == 0; }

void put_octal(char* field, std::size_t digits, std::uint64_t value) {
  for (std::size_t i = digits; i-- > 0; value >>= 3U) field[i] = static_cast<char>('0' + (value & 7U));
}

void put_text(char* field, std::size_t size, std::string_view text) {
  std::copy_n(text.begin(), std::min(size, text.size()), field);
}

bool is_ascii(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 0x80; });
}

char type_flag(const PaxMember& member) {
  if (member.hard_link) return '1';
  switch (member.mode & kTypeBits) {
    case S_IFLNK:
      return '2';
    case S_IFCHR:
      return '3';
    case S_IFBLK:
      return '4';
    case S_IFDIR:
      return '5';
    case S_IFIFO:
      return '6';
    default:
      return '0';
  }
}

/// "LENGTH KEY=VALUE\n", the length counting itself.
void add_record(std::string& records, std::string_view key, std::string_view value) {
  const std::size_t rest = 1 + key.size() + 1 + value.size() + 1;
  std::size_t length = rest + 1;
  while (std::to_string(length).size() + rest != length) ++length;
  records += str_cat(length, " ", key, "=", value, "\n");
}

std::string time_text(std::int64_t seconds, std::uint32_t nanoseconds) {
  // Nanoseconds count forward from the second below; a decimal fraction of a negative number counts back from
  // it.
  const bool back = seconds < 0 && nanoseconds != 0;
  const std::uint32_t fraction = back ? 1'000'000'000U - nanoseconds : nanoseconds;
  const std::int64_t whole = back ? seconds + 1 : seconds;
  std::string text = str_cat(back && whole == 0 ? "-" : "", whole);
  if (fraction == 0) return text;
  std::string digits = std::to_string(fraction);
  digits.insert(0, 9 - digits.size(), '0');
  while (digits.back() == '0') digits.pop_back();
  return str_cat(text, ".", digits);
}

std::string extended_records(const PaxMember& member) {
  std::string records;
  if (member.name.size() > kNameBytes || !is_ascii(member.name)) add_record(records, "path", member.name);
  if (member.link.size() > kNameBytes || !is_ascii(member.link)) add_record(records, "linkpath", member.link);
  if (!fits_octal(member.size_bytes, kSizeDigits))
    add_record(records, "size", std::to_string(member.size_bytes));
  if (!fits_octal(member.uid, kIdDigits)) add_record(records, "uid", std::to_string(member.uid));
  if (!fits_octal(member.gid, kIdDigits)) add_record(records, "gid", std::to_string(member.gid));
  if (member.mtime_nsec != 0 || member.mtime_sec < 0 ||
      !fits_octal(static_cast<std::uint64_t>(member.mtime_sec), kSizeDigits)) {
    add_record(records, "mtime", time_text(member.mtime_sec, member.mtime_nsec));
  }
  for (const auto& [name, value] : member.xattrs) add_record(records, str_cat("SCHILY.xattr.", name), value);
  return records;
}

std::string ustar_block(const PaxMember& member, char type) {
  std::string block(kTarBlockBytes, '\0');
  const auto number = [&](std::size_t offset, std::size_t digits, std::uint64_t value) {
    put_octal(block.data() + offset, digits, fits_octal(value, digits) ? value : 0);
  };
  put_text(block.data(), kNameBytes, member.name);
  number(100, kIdDigits, member.mode & kPermissionBits);
  number(108, kIdDigits, member.uid);
  number(116, kIdDigits, member.gid);
  number(124, kSizeDigits, member.size_bytes);
  number(136, kSizeDigits, member.mtime_sec < 0 ? 0 : static_cast<std::uint64_t>(member.mtime_sec));
  block[156] = type;
  put_text(block.data() + 157, kNameBytes, member.link);
  std::memcpy(block.data() + 257, "ustar\00000", 8);
  number(329, kIdDigits, member.device_major);
  number(337, kIdDigits, member.device_minor);
  std::memset(block.data() + kChecksumOffset, ' ', 8);
  std::uint64_t sum = 0;
  for (const char c : block) sum += static_cast<unsigned char>(c);
  put_octal(block.data() + kChecksumOffset, 6, sum);
  block[kChecksumOffset + 6] = '\0';
  return block;
}

}  // namespace

std::string pax_header(const PaxMember& member) {
  const std::string records = extended_records(member);
  const std::string own = ustar_block(member, type_flag(member));
  if (records.empty()) return own;
  PaxMember extension;
  extension.name = "PaxHeaders/extended";
  extension.mode = 0644;
  extension.size_bytes = records.size();
  return str_cat(ustar_block(extension, 'x'), records, std::string(tar_padding(records.size()), '\0'), own);
}

}  // namespace layerboot::store
