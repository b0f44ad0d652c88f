#include "oci-mount/store/manifest_choice.h"

#include <algorithm>
#include <optional>
#include <set>
#include <string>

#include "oci-mount/base/printable.h"
#include "oci-mount/store/platform.h"

namespace layerboot::store {

namespace {

/// Worst first.
enum class Rank { kNone, kCompatible, kOpen, kNamed };

Rank rank_of(const ManifestDescriptor& entry, const Platform& wanted) {
  if (entry.is_artifact) return Rank::kNone;
  if (!entry.platform) return Rank::kOpen;
  switch (fit_of(*entry.platform, wanted)) {
    case Fit::kNot:
      return Rank::kNone;
    case Fit::kCompatible:
      return Rank::kCompatible;
    case Fit::kYes:
      return entry.platform->os.empty() && entry.platform->architecture.empty() ? Rank::kOpen : Rank::kNamed;
  }
  return Rank::kNone;
}

class Search {
 public:
  Search(const Content& content, const Platform& wanted) : content_(content), wanted_(wanted) {}

  /// The first of the best rank. An error only where nothing could be looked at any more.
  Result<std::optional<ManifestDescriptor>> among(const std::vector<ManifestDescriptor>& candidates,
                                                  int nesting) {
    if (nesting > kMaxIndexNesting)
      return fail(EINVAL, "indexes are nested deeper than the limit of ", kMaxIndexNesting);
    for (const ManifestDescriptor& entry : candidates) {
      if (entry.platform) seen_.insert(platform_text(*entry.platform));
    }
    for (const Rank rank : {Rank::kNamed, Rank::kOpen, Rank::kCompatible}) {
      for (const ManifestDescriptor& entry : candidates) {
        if (rank_of(entry, wanted_) != rank) continue;
        LB_ASSIGN(auto found, within(entry, candidates.size() == 1, nesting));
        if (found) return found;
      }
    }
    return std::nullopt;
  }

  /// " linux/arm64 linux/s390x", and why documents could not be looked at.
  [[nodiscard]] std::string seen() const {
    std::string text;
    for (const std::string& platform : seen_) text += str_cat(" ", printable(platform));
    return text;
  }
  [[nodiscard]] const std::optional<Error>& first_error() const { return first_error_; }

 private:
  Result<std::optional<ManifestDescriptor>> within(const ManifestDescriptor& entry, bool only, int nesting) {
    if (entry.kind == DocumentKind::kManifest) {
      // The only one is judged by who opens it, and says what is wrong with it.
      const bool taken = only || rank_of(entry, wanted_) != Rank::kOpen || config_fits(entry);
      return taken ? std::optional(entry) : std::nullopt;
    }
    if (++documents_read_ > kMaxDocumentsRead)
      return fail(EINVAL, "more than ", kMaxDocumentsRead, " documents would have to be read, the limit");
    auto text = content_.read_document(entry.digest, entry.size_bytes, kMaxManifestJsonBytes, "index");
    auto nested = text ? parse_index(*text, str_cat("index ", entry.digest.text()))
                       : Result<IndexDocument>(std::unexpected(text.error()));
    if (!nested) {
      if (!first_error_) first_error_ = nested.error();
      return std::nullopt;
    }
    return among(nested->manifests, nesting + 1);
  }

  bool config_fits(const ManifestDescriptor& entry) {
    if ((documents_read_ += 2) > kMaxDocumentsRead) return true;
    const auto platform = platform_of(entry);
    if (!platform) {
      if (!first_error_) first_error_ = platform.error();
      return false;
    }
    if (fit_of(*platform, wanted_) != Fit::kNot) return true;
    seen_.insert(platform_text(*platform));
    return false;
  }

  Result<Platform> platform_of(const ManifestDescriptor& entry) const {
    LB_ASSIGN(const std::string text,
              content_.read_document(entry.digest, entry.size_bytes, kMaxManifestJsonBytes, "manifest"));
    LB_ASSIGN(const auto manifest, parse_manifest(text, str_cat("manifest ", entry.digest.text())));
    LB_ASSIGN(const std::string config, content_.read_document(manifest.config, manifest.config_size_bytes,
                                                               kMaxManifestJsonBytes, "config"));
    LB_ASSIGN(const auto parsed, parse_config(config, str_cat("config ", manifest.config.text())));
    return parsed.platform;
  }

  const Content& content_;
  const Platform& wanted_;
  int documents_read_ = 0;
  std::set<std::string> seen_;
  std::optional<Error> first_error_;
};

}  // namespace

Result<ManifestDescriptor> choose_manifest(const Content& content,
                                           const std::vector<ManifestDescriptor>& candidates,
                                           const Platform& wanted, std::string_view what) {
  Search search(content, wanted);
  auto found = search.among(candidates, 0);
  if (!found) return while_doing(found.error(), "image \"", what, "\"");
  if (*found) return **found;
  // What could not be read is a better reason than what is not there.
  if (search.first_error()) return while_doing(*search.first_error(), "image \"", what, "\"");
  const std::string seen = search.seen();
  return fail(ENOENT, "image \"", what, "\" has nothing for ", platform_text(wanted),
              seen.empty() ? "" : "; it has:", seen, seen.empty() ? "" : " (--platform takes another's)");
}

}  // namespace layerboot::store
