#include "oci-mount/store/digest.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "oci-mount/base/bytes.h"

namespace layerboot::store {
namespace {

const std::string kHex64(64, 'a');

TEST(Digest, TakesBothAlgorithmsAndGivesThemBack) {
  for (const std::string& text : {"sha256:" + kHex64, "sha512:" + kHex64 + kHex64}) {
    const auto digest = Digest::parse(text);
    ASSERT_TRUE(digest) << text;
    EXPECT_EQ(digest->text(), text);
  }
  EXPECT_EQ(Digest::parse("sha256:" + kHex64)->file_name(), "sha256-" + kHex64);
}

// CVE-2024-3727: whatever is not exactly a digest may never become a path or a request.
TEST(Digest, RefusesEverythingElse) {
  const std::string upper(64, 'A');
  const std::vector<std::string> texts = {std::string(),
                                          std::string("sha256"),
                                          std::string("sha256:"),
                                          "sha256:" + kHex64.substr(1),
                                          "sha256:" + kHex64 + "a",
                                          "sha256:" + upper,
                                          "SHA256:" + kHex64,
                                          "md5:" + kHex64,
                                          "sha384:" + kHex64,
                                          "sha512:" + kHex64,
                                          "sha256:../../../../etc/passwd",
                                          "sha256:" + kHex64.substr(3) + "../",
                                          " sha256:" + kHex64,
                                          "sha256:" + kHex64 + "\n",
                                          "sha256:" + kHex64.substr(1) + std::string(1, '\0'),
                                          kHex64};
  for (const std::string& text : texts) {
    const auto digest = Digest::parse(text);
    EXPECT_FALSE(digest) << text;
    if (!digest) {
      EXPECT_EQ(digest.error().code, EINVAL);
      EXPECT_FALSE(digest.error().text.empty());
    }
  }
}

TEST(Digest, StoredBytesMustFitTheAlgorithm) {
  const std::vector<std::byte> bytes(64);
  EXPECT_TRUE(Digest::from_bytes(HashAlgorithm::kSha512, bytes));
  EXPECT_FALSE(Digest::from_bytes(HashAlgorithm::kSha256, bytes));
  EXPECT_FALSE(Digest::from_bytes(static_cast<HashAlgorithm>(9), bytes));
}

TEST(Hasher, GivesTheKnownValues) {
  EXPECT_EQ(digest_of(HashAlgorithm::kSha256, {})->text(),
            "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(digest_of(HashAlgorithm::kSha256, as_bytes("abc"))->hex(),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_TRUE(digest_of(HashAlgorithm::kSha512, as_bytes("abc"))
                  ->hex()
                  .starts_with("ddaf35a193617abacc417349ae204131"));
}

TEST(Hasher, PiecesAreTheWhole) {
  auto hasher = Hasher::create(HashAlgorithm::kSha256);
  ASSERT_TRUE(hasher);
  hasher->update(as_bytes("a"));
  hasher->update({});
  hasher->update(as_bytes("bc"));
  EXPECT_EQ(hasher->finish(), *digest_of(HashAlgorithm::kSha256, as_bytes("abc")));
}

}  // namespace
}  // namespace layerboot::store
