#include "launcher/images/registry_image.h"

#include <utility>
#include <vector>

#include "launcher/images/skopeo.h"
#include "launcher/images/stored_documents.h"
#include "oci-mount/base/bytes.h"
#include "oci-mount/base/files.h"
#include "oci-mount/base/printable.h"
#include "oci-mount/store/content.h"
#include "oci-mount/store/image.h"
#include "oci-mount/store/json_document.h"
#include "oci-mount/store/manifest_choice.h"

namespace layerboot::launcher {

namespace {

using store::find_member;
using store::Json;
using store::Platform;
using store::platform_text;
using store::text_member;

Result<std::string> inspect(const std::string& source, bool config, bool tls_verify) {
  std::vector<std::string> words{"inspect", "--raw"};
  if (config) words.emplace_back("--config");
  if (!tls_verify) words.emplace_back("--tls-verify=false");
  words.push_back(source);
  return run_skopeo({.words = std::move(words), .working_directory = {}, .on_tick = {}});
}

/// A registry's repository, document by document: what is asked for is what is fetched.
class RegistryContent final : public store::Content {
 public:
  RegistryContent(std::string repository, const std::filesystem::path& store, bool tls_verify)
      : repository_(std::move(repository)), store_(store), tls_verify_(tls_verify) {}

  /// What has been fetched already.
  void know(const store::Digest& digest, std::string text) const {
    last_digest_ = digest;
    last_text_ = std::move(text);
  }

  Result<std::string> read_blob(const store::Digest& digest, std::size_t max_bytes) const override {
    if (digest == last_digest_) return last_text_;
    // A config goes by its manifest, which is always read just before.
    const auto manifest = store::parse_manifest(last_text_, "");
    const bool is_config = manifest && manifest->config == digest;
    // The image may be known.
    auto text = stored(digest, max_bytes);
    if (!text) text = inspect(source_of(is_config ? last_digest_ : digest), is_config, tls_verify_);
    if (text && !is_config) know(digest, *text);
    return text;
  }
  Result<void> place(store::ImageLayer& layer) const override {
    return fail(ENOTSUP, layer_name(layer), " is in ", where());
  }
  [[nodiscard]] std::string where() const override { return repository_; }
  [[nodiscard]] std::string remedy() const override { return "whoever pushed it has to push it again"; }

  [[nodiscard]] std::string source_of(const store::Digest& digest) const {
    return str_cat("docker://", repository_, "@", digest.text());
  }

 private:
  [[nodiscard]] Result<std::string> stored(const store::Digest& digest, std::size_t max_bytes) const {
    LB_ASSIGN(auto text, read_file(blob_path(store_, digest), max_bytes));
    LB_ASSIGN(const auto hash, store::digest_of(digest.algorithm(), as_bytes(text)));
    if (hash != digest) return fail(EBADMSG, "damaged");
    return text;
  }

  std::string repository_;
  const std::filesystem::path& store_;
  bool tls_verify_;
  mutable store::Digest last_digest_;
  mutable std::string last_text_;
};

/// That a manifest which was not chosen by its platform is for the one that is wanted.
Result<void> check_platform(const Platform& platform, const Platform& wanted) {
  if (store::fit_of(platform, wanted) != store::Fit::kNot) return {};
  const std::string has = printable(platform_text(platform));
  return fail(ENOTSUP, "it is for ", has, ", not for ", platform_text(wanted), "; --platform ", has,
              " fetches it all the same");
}

}  // namespace

Result<RegistryImage> look_up_in_registry(const ImageName& name, const Platform& platform,
                                          const std::filesystem::path& store, bool tls_verify) {
  RegistryImage image;
  image.source = str_cat("docker://", name.text());
  LB_ASSIGN(std::string text, inspect(image.source, false, tls_verify));
  store::ManifestDescriptor top;
  top.size_bytes = text.size();
  LB_ASSIGN(top.digest, store::digest_of(store::HashAlgorithm::kSha256, as_bytes(text)));
  if (!name.digest.empty()) {
    LB_ASSIGN(top.digest, store::Digest::parse(name.digest));
  }
  image.digest = top.digest.text();
  LB_ASSIGN(const Json document, store::parse_json_object(text, store::kMaxIndexJsonBytes,
                                                          store::kMaxJsonDepth, "what the registry has"));
  const Json* const version = find_member(document, "schemaVersion");
  if (version != nullptr && *version == 1) return image;
  if (find_member(document, "manifests") != nullptr) top.kind = store::DocumentKind::kIndex;
  const RegistryContent content(name.repository, store, tls_verify);
  content.know(top.digest, std::move(text));
  LB_ASSIGN(const auto chosen, choose_manifest(content, {top}, platform, "it"));
  LB_ASSIGN(text, content.read_document(chosen.digest, chosen.size_bytes, store::kMaxManifestJsonBytes,
                                        "manifest"));
  image.source = content.source_of(chosen.digest);
  LB_ASSIGN(image.manifest, store::parse_manifest(text, "its manifest"));
  LB_ASSIGN(const std::string config,
            content.read_document(image.manifest->config, image.manifest->config_size_bytes,
                                  store::kMaxManifestJsonBytes, "config"));
  LB_ASSIGN(const auto parsed, store::parse_config(config, "its config"));
  const Platform& is_for = store::platform_of_image(chosen.platform, parsed.platform);
  LB_TRY(check_platform(is_for, platform));
  if (is_for != parsed.platform) image.said_platform = is_for;
  return image;
}

}  // namespace layerboot::launcher
