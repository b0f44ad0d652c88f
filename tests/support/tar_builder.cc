#include "tests/support/tar_builder.h"

#include <algorithm>
#include <cstdio>
#include <cstring>

namespace layerboot::test {

namespace {

constexpr std::size_t kBlock = 512;
constexpr std::size_t kNameBytes = 100;

void put_octal(char* field, std::size_t size, std::uint64_t value) {
  field[size - 1] = '\0';
  for (std::size_t i = size - 1; i-- > 0; value >>= 3U) field[i] = static_cast<char>('0' + (value & 7U));
}

bool fits_octal(std::int64_t value, std::size_t size) { return value >= 0 && value >> (3 * (size - 1)) == 0; }

void put_number(char* field, std::size_t size, std::int64_t value) {
  if (fits_octal(value, size)) return put_octal(field, size, static_cast<std::uint64_t>(value));
  for (std::size_t i = size; i-- > 0;) {
    field[i] = static_cast<char>(value & 0xff);
    value >>= 8;
  }
  field[0] = static_cast<char>(field[0] | static_cast<char>(0x80));
}

}  // namespace

std::string pax_record(std::string_view key, std::string_view value) {
  const std::size_t rest = 1 + key.size() + 1 + value.size() + 1;
  std::size_t length = rest + 1;
  while (std::to_string(length).size() + rest != length) ++length;
  return std::to_string(length) + " " + std::string(key) + "=" + std::string(value) + "\n";
}

void fix_checksum(std::string& tar, std::size_t offset) {
  char* const checksum = tar.data() + offset + 148;
  std::memset(checksum, ' ', 8);
  unsigned sum = 0;
  for (std::size_t i = 0; i < kBlock; ++i) sum += static_cast<unsigned char>(tar[offset + i]);
  std::snprintf(checksum, 8, "%06o", sum);
}

TarBuilder& TarBuilder::file(std::string name, std::string content, std::uint64_t mode) {
  TarMember member;
  member.name = std::move(name);
  member.content = std::move(content);
  member.mode = mode;
  return add(std::move(member));
}

TarBuilder& TarBuilder::directory(std::string name, std::uint64_t mode) {
  TarMember member;
  member.type = '5';
  member.name = std::move(name);
  member.mode = mode;
  return add(std::move(member));
}

TarBuilder& TarBuilder::symlink(std::string name, std::string target) {
  TarMember member;
  member.type = '2';
  member.name = std::move(name);
  member.link = std::move(target);
  member.mode = 0777;
  return add(std::move(member));
}

TarBuilder& TarBuilder::hard_link(std::string name, std::string target) {
  TarMember member;
  member.type = '1';
  member.name = std::move(name);
  member.link = std::move(target);
  return add(std::move(member));
}

TarBuilder& TarBuilder::whiteout(std::string_view path) {
  const auto slash = path.rfind('/');
  const auto base = slash == std::string_view::npos ? 0 : slash + 1;
  return file(std::string(path.substr(0, base)) + ".wh." + std::string(path.substr(base)), "");
}

TarBuilder& TarBuilder::opaque(std::string_view directory) {
  return file((directory.empty() ? "" : std::string(directory) + "/") + ".wh..wh..opq", "");
}

TarBuilder& TarBuilder::raw(std::string_view bytes) {
  bytes_ += bytes;
  return *this;
}

TarBuilder& TarBuilder::add(TarMember member) {
  if (format_ == TarFormat::kGnu) {
    const auto long_text = [&](char type, const std::string& text) {
      if (text.size() <= kNameBytes) return;
      TarMember extension;
      extension.type = type;
      extension.name = "././@LongLink";
      header(extension, text.size() + 1);
      data(text + '\0');
    };
    long_text('K', member.link);
    long_text('L', member.name);
  } else if (format_ == TarFormat::kUstar) {
    if (member.name.size() > kNameBytes) member.pax.emplace_back("path", member.name);
    if (member.link.size() > kNameBytes) member.pax.emplace_back("linkpath", member.link);
  }
  if (!member.pax.empty()) {
    std::string records;
    for (const auto& [key, value] : member.pax) records += pax_record(key, value);
    TarMember extension;
    extension.type = 'x';
    extension.name = "PaxHeaders/x";
    header(extension, records.size());
    data(records);
  }
  header(member, member.content.size());
  data(member.content);
  return *this;
}

void TarBuilder::header(const TarMember& member, std::uint64_t size_bytes) {
  const std::size_t offset = bytes_.size();
  bytes_.append(kBlock, '\0');
  char* const block = bytes_.data() + offset;
  std::memcpy(block, member.name.data(), std::min(member.name.size(), kNameBytes));
  put_octal(block + 100, 8, member.mode);
  put_number(block + 108, 8, member.uid);
  put_number(block + 116, 8, member.gid);
  put_number(block + 124, 12, static_cast<std::int64_t>(size_bytes));
  put_number(block + 136, 12, member.mtime);
  block[156] = member.type;
  std::memcpy(block + 157, member.link.data(), std::min(member.link.size(), kNameBytes));
  if (format_ == TarFormat::kUstar) std::memcpy(block + 257, "ustar\00000", 8);
  if (format_ == TarFormat::kGnu) std::memcpy(block + 257, "ustar  \0", 8);
  if (format_ != TarFormat::kV7) {
    put_octal(block + 329, 8, member.device_major);
    put_octal(block + 337, 8, member.device_minor);
  }
  fix_checksum(bytes_, offset);
}

void TarBuilder::data(std::string_view content) {
  bytes_ += content;
  bytes_.append((0 - content.size()) % kBlock, '\0');
}

std::string TarBuilder::finish() const { return bytes_ + std::string(2 * kBlock, '\0'); }

}  // namespace layerboot::test
