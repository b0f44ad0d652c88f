#include "launcher/images/registry_image.h"

#include <algorithm>
#include <vector>

#include "launcher/images/skopeo.h"
#include "launcher/images/stored_documents.h"
#include "oci-mount/base/bytes.h"
#include "oci-mount/base/files.h"
#include "oci-mount/store/image.h"
#include "oci-mount/store/json_document.h"

namespace layerboot::launcher {

namespace {

using store::find_member;
using store::Json;
using store::Platform;
using store::platform_text;
using store::text_member;

constexpr int kMaxIndexNesting = 2;

Result<std::string> inspect(const std::string& source, bool config, bool tls_verify) {
  std::vector<std::string> words{"inspect", "--raw"};
  if (config) words.emplace_back("--config");
  if (!tls_verify) words.emplace_back("--tls-verify=false");
  words.push_back(source);
  return run_skopeo({.words = std::move(words), .working_directory = {}, .on_tick = {}});
}

Platform platform_of(const Json& descriptor) {
  const Json* const platform = find_member(descriptor, "platform");
  if (platform == nullptr) return {};
  return {text_member(*platform, "os"), text_member(*platform, "architecture"),
          text_member(*platform, "variant")};
}

bool fits(const Platform& have, const Platform& wanted) {
  return have.os == wanted.os && have.architecture == wanted.architecture &&
         (wanted.variant.empty() || have.variant.empty() || have.variant == wanted.variant);
}

/// The digest of the index's entry for the platform.
Result<std::string> choose(const Json& index, const std::string& text,
                           const std::optional<Platform>& wanted) {
  LB_ASSIGN(const auto parsed, store::parse_index(text, "its index"));
  for (const auto& entry : parsed.manifests) {
    if (!wanted && store::fits_host(entry)) return entry.digest.text();
  }
  std::string seen;
  for (const Json& descriptor : *find_member(index, "manifests")) {
    const Platform platform = platform_of(descriptor);
    if (wanted && fits(platform, *wanted)) return text_member(descriptor, "digest");
    if (!platform.os.empty() && platform.os != "unknown")
      seen += str_cat(seen.empty() ? "" : ", ", platform_text(platform));
  }
  const std::string what = wanted ? platform_text(*wanted) : str_cat("linux/", store::host_architecture());
  return fail(ENOENT, "it has nothing for ", what, seen.empty() ? "" : "; it has: ", seen,
              wanted ? "" : "; --platform fetches another's");
}

/// The config document, out of the store where it is there and whole: the image may be known.
Result<std::string> config_text(const std::filesystem::path& store, const RegistryImage& image,
                                bool tls_verify) {
  const store::Digest& digest = image.manifest->config;
  const auto stored = read_file(blob_path(store, digest), store::kMaxManifestJsonBytes);
  if (stored) {
    LB_ASSIGN(const auto hash, store::digest_of(digest.algorithm(), as_bytes(*stored)));
    if (hash == digest) return *stored;
  }
  return inspect(image.source, true, tls_verify);
}

/// That a manifest which was not chosen by its platform is for the one that is wanted.
Result<void> check_platform(const std::string& text, const std::optional<Platform>& wanted) {
  LB_ASSIGN(const auto config, store::parse_config(text, "its config"));
  const Platform have{config.platform.os, config.platform.architecture, {}};
  const Platform need = wanted.value_or(store::host_platform());
  const bool says_nothing = have.os.empty() && have.architecture.empty();
  if (says_nothing || fits(have, need)) return {};
  return fail(ENOENT, "it is for ", platform_text(have), ", not for ", platform_text(need),
              wanted ? "" : str_cat("; --platform ", platform_text(have), " fetches it all the same"));
}

}  // namespace

Result<RegistryImage> look_up_in_registry(const ImageName& name, const std::optional<Platform>& platform,
                                          const std::filesystem::path& store, bool tls_verify) {
  RegistryImage image;
  image.source = str_cat("docker://", name.text());
  LB_ASSIGN(std::string text, inspect(image.source, false, tls_verify));
  LB_ASSIGN(const auto top, store::digest_of(store::HashAlgorithm::kSha256, as_bytes(text)));
  image.digest = name.digest.empty() ? top.text() : name.digest;
  std::string digest = image.digest;
  bool chosen = false;
  for (int nesting = 0;; ++nesting) {
    LB_ASSIGN(const Json document, store::parse_json_object(text, store::kMaxIndexJsonBytes,
                                                            store::kMaxJsonDepth, "what the registry has"));
    const Json* const version = find_member(document, "schemaVersion");
    if (version != nullptr && *version == 1) return image;
    if (find_member(document, "manifests") == nullptr) break;
    if (nesting == kMaxIndexNesting)
      return fail(EINVAL, "its indexes are nested deeper than the limit of ", kMaxIndexNesting);
    LB_ASSIGN(digest, choose(document, text, platform));
    LB_ASSIGN(text, inspect(str_cat("docker://", name.repository, "@", digest), false, tls_verify));
    chosen = true;
  }
  image.source = str_cat("docker://", name.repository, "@", digest);
  LB_ASSIGN(image.manifest, store::parse_manifest(text, "its manifest"));
  if (chosen) return image;
  LB_ASSIGN(const std::string config, config_text(store, image, tls_verify));
  LB_TRY(check_platform(config, platform));
  return image;
}

}  // namespace layerboot::launcher
