#include "tests/process/giant_blocks.h"

#include <openssl/evp.h>
#include <zlib.h>

#include <array>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <string_view>

#include "tests/support/tar_builder.h"

namespace layerboot::test {

namespace {

/// Bits as deflate has them (RFC 1951, 3.1.1): from the lowest of each byte on.
class BitWriter {
 public:
  void put(std::uint64_t value, unsigned bits) {
    pending_ |= value << count_;
    for (count_ += bits; count_ >= 8; count_ -= 8) {
      out.push_back(static_cast<char>(pending_));
      pending_ >>= 8;
    }
  }
  /// A Huffman code, which begins with its highest bit.
  void put_code(unsigned code, unsigned bits) {
    unsigned turned = 0;
    for (unsigned i = 0; i < bits; ++i) turned = (turned << 1U) | ((code >> i) & 1U);
    put(turned, bits);
  }
  void align() {
    if (count_ > 0) put(0, 8 - count_);
  }
  std::string out;

 private:
  std::uint64_t pending_ = 0;
  unsigned count_ = 0;
};

/// The gzip member being written, and what is known of the bytes that it unpacks to.
class Member {
 public:
  Member() : hash_(::EVP_MD_CTX_new(), &::EVP_MD_CTX_free) {
    ::EVP_DigestInit_ex(hash_.get(), ::EVP_sha256(), nullptr);
    bits_.out.assign("\x1f\x8b\x08\0\0\0\0\0\0\x03", 10);
  }
  void stored(std::string_view bytes, bool last) {
    bits_.put(last ? 1 : 0, 3);
    bits_.align();
    const auto size = static_cast<std::uint16_t>(bytes.size());
    bits_.put(size, 16);
    bits_.put(static_cast<std::uint16_t>(~size), 16);
    bits_.out += bytes;
    note(bytes);
  }
  /// One block of fixed codes: `first`, then zeroes.
  void block(char first, const std::string& zeroes) {
    constexpr unsigned kFirstLiteral = 0x30;
    constexpr std::size_t kLongestMatch = 258;
    bits_.put(0, 1);
    bits_.put(1, 2);
    bits_.put_code(kFirstLiteral + static_cast<unsigned char>(first), 8);
    bits_.put_code(kFirstLiteral, 8);
    std::size_t left = zeroes.size() - 1;
    for (; left >= kLongestMatch; left -= kLongestMatch) {
      bits_.put_code(0b11000101, 8);  // a match of 258
      bits_.put_code(0, 5);           // one byte back
    }
    for (; left > 0; --left) bits_.put_code(kFirstLiteral, 8);
    bits_.put_code(0, 7);  // the block's end
    note({&first, 1});
    note(zeroes);
  }
  ImageBuilder::Layer finish() {
    bits_.align();
    bits_.put(crc_, 32);
    bits_.put(size_bytes_ & 0xffffffffU, 32);
    std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
    unsigned length = 0;
    ::EVP_DigestFinal_ex(hash_.get(), digest.data(), &length);
    std::string text = "sha256:";
    for (unsigned i = 0; i < length; ++i) {
      std::array<char, 3> hex{};
      std::snprintf(hex.data(), hex.size(), "%02x", digest[i]);
      text += hex.data();
    }
    return {.media_type = "application/vnd.oci.image.layer.v1.tar+gzip",
            .blob = std::move(bits_.out),
            .diff_id = std::move(text)};
  }

 private:
  void note(std::string_view bytes) {
    ::EVP_DigestUpdate(hash_.get(), bytes.data(), bytes.size());
    crc_ = ::crc32(crc_, reinterpret_cast<const Bytef*>(bytes.data()), static_cast<uInt>(bytes.size()));
    size_bytes_ += bytes.size();
  }

  BitWriter bits_;
  std::unique_ptr<EVP_MD_CTX, void (*)(EVP_MD_CTX*)> hash_;
  uLong crc_ = ::crc32(0, nullptr, 0);
  std::uint64_t size_bytes_ = 0;
};

}  // namespace

ImageBuilder::Layer giant_block_layer(unsigned spans) {
  constexpr std::size_t kTarBlock = 512;
  constexpr std::size_t kSizeField = 124;
  const std::uint64_t size_bytes = std::uint64_t{spans} * kGiantSpanBytes;
  std::string header = TarBuilder().file("big", "").without_end();
  constexpr std::size_t kSizeDigits = 11;
  for (std::size_t digit = 0; digit < kSizeDigits; ++digit)
    header[kSizeField + kSizeDigits - 1 - digit] =
        static_cast<char>('0' + ((size_bytes >> (3 * digit)) & 7U));
  fix_checksum(header, 0);
  Member member;
  member.stored(header, false);
  const std::string zeroes(kGiantSpanBytes - 1, '\0');
  for (unsigned span = 0; span < spans; ++span) member.block(static_cast<char>('A' + span % 26), zeroes);
  member.stored(std::string((kTarBlock - size_bytes % kTarBlock) % kTarBlock + 2 * kTarBlock, '\0'), true);
  return member.finish();
}

}  // namespace layerboot::test
