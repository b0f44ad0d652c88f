#include "oci-mount/store/digest.h"

#include <openssl/evp.h>

#include <algorithm>

#include "oci-mount/base/printable.h"

namespace layerboot::store {

namespace {

constexpr std::size_t digest_bytes(HashAlgorithm algorithm) {
  return algorithm == HashAlgorithm::kSha256 ? 32 : 64;
}

/// 0 to 15, or -1: upper case is no digest.
constexpr int hex_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return -1;
}

EVP_MD_CTX* evp(void* context) { return static_cast<EVP_MD_CTX*>(context); }

}  // namespace

Result<Digest> Digest::parse(std::string_view text) {
  constexpr std::string_view kSha256Prefix = "sha256:";
  constexpr std::string_view kSha512Prefix = "sha512:";
  constexpr std::size_t kShown = 80;
  Digest digest;
  if (text.starts_with(kSha512Prefix)) {
    digest.algorithm_ = HashAlgorithm::kSha512;
  } else if (!text.starts_with(kSha256Prefix)) {
    return fail(EINVAL, "\"", printable(text, kShown),
                "\" is no digest: it must begin with sha256: or sha512:");
  }
  const auto hex = text.substr(kSha256Prefix.size());
  const auto size_bytes = digest_bytes(digest.algorithm_);
  bool good = hex.size() == 2 * size_bytes;
  for (std::size_t i = 0; good && i < size_bytes; ++i) {
    const int high = hex_value(hex[2 * i]);
    const int low = hex_value(hex[2 * i + 1]);
    good = high >= 0 && low >= 0;
    digest.bytes_[i] = static_cast<std::byte>(high * 16 + low);
  }
  if (!good) {
    return fail(EINVAL, "\"", printable(text, kShown), "\" is no digest: it needs ", 2 * size_bytes,
                " lower-case hex digits");
  }
  return digest;
}

Result<Digest> Digest::from_bytes(HashAlgorithm algorithm, std::span<const std::byte> bytes) {
  if (algorithm != HashAlgorithm::kSha256 && algorithm != HashAlgorithm::kSha512) {
    return fail(EINVAL, "unknown hash algorithm ", static_cast<unsigned>(algorithm));
  }
  if (bytes.size() != digest_bytes(algorithm)) return fail(EINVAL, "a digest of ", bytes.size(), " bytes");
  Digest digest;
  digest.algorithm_ = algorithm;
  std::copy(bytes.begin(), bytes.end(), digest.bytes_.begin());
  return digest;
}

std::span<const std::byte> Digest::bytes() const { return std::span(bytes_).first(digest_bytes(algorithm_)); }

std::string_view Digest::algorithm_name() const {
  return algorithm_ == HashAlgorithm::kSha256 ? "sha256" : "sha512";
}

std::string Digest::hex() const {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string out;
  for (const std::byte byte : bytes()) {
    out += kDigits[std::to_integer<std::size_t>(byte >> 4)];
    out += kDigits[std::to_integer<std::size_t>(byte & std::byte{15})];
  }
  return out;
}

std::string Digest::text() const { return str_cat(algorithm_name(), ":", hex()); }
std::string Digest::file_name() const { return str_cat(algorithm_name(), "-", hex()); }

void Hasher::FreeContext::operator()(void* context) const { ::EVP_MD_CTX_free(evp(context)); }

Result<Hasher> Hasher::create(HashAlgorithm algorithm) {
  Hasher hasher(algorithm, ::EVP_MD_CTX_new());
  const EVP_MD* const type = algorithm == HashAlgorithm::kSha256 ? ::EVP_sha256() : ::EVP_sha512();
  if (!hasher.context_ || ::EVP_DigestInit_ex(evp(hasher.context_.get()), type, nullptr) != 1) {
    return fail(ENOMEM, "OpenSSL gives no hasher");
  }
  return hasher;
}

void Hasher::update(std::span<const std::byte> bytes) {
  ::EVP_DigestUpdate(evp(context_.get()), bytes.data(), bytes.size());
}

Digest Hasher::so_far() const {
  Hasher copy(algorithm_, ::EVP_MD_CTX_new());
  ::EVP_MD_CTX_copy_ex(evp(copy.context_.get()), evp(context_.get()));
  return copy.finish();
}

Digest Hasher::finish() {
  std::array<std::byte, EVP_MAX_MD_SIZE> out{};
  ::EVP_DigestFinal_ex(evp(context_.get()), reinterpret_cast<unsigned char*>(out.data()), nullptr);
  auto digest = Digest::from_bytes(algorithm_, std::span(out).first(digest_bytes(algorithm_)));
  return *digest;  // the algorithm and the length are this hasher's own
}

Result<Digest> digest_of(HashAlgorithm algorithm, std::span<const std::byte> bytes) {
  LB_ASSIGN(Hasher hasher, Hasher::create(algorithm));
  hasher.update(bytes);
  return hasher.finish();
}

}  // namespace layerboot::store
