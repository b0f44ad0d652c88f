#include "oci-mount/store/manifest_choice.h"

#include <algorithm>
#include <optional>
#include <set>
#include <string>
#include <utility>

#include "oci-mount/base/printable.h"
#include "oci-mount/store/platform.h"

namespace layerboot::store {

namespace {

/// Worst first.
enum class Rank { kNone, kArtifact, kCompatible, kOpen, kNamed };

/// `wanted` null: anything will do.
Rank rank_of(const ManifestDescriptor& entry, const Platform* wanted) {
  if (entry.is_attestation) return Rank::kNone;
  const bool fits = wanted == nullptr || !entry.platform || fit_of(*entry.platform, *wanted) != Fit::kNot;
  if (!entry.artifact_type.empty()) return fits ? Rank::kArtifact : Rank::kNone;
  if (wanted == nullptr) return Rank::kNamed;
  if (!entry.platform) return Rank::kOpen;
  switch (fit_of(*entry.platform, *wanted)) {
    case Fit::kNot:
      return Rank::kNone;
    case Fit::kCompatible:
      return Rank::kCompatible;
    case Fit::kYes:
      return entry.platform->os.empty() || entry.platform->architecture.empty() ? Rank::kOpen : Rank::kNamed;
  }
  return Rank::kNone;
}

struct Found {
  ManifestDescriptor entry;
  bool only_compatible = false;  // taken where there is nothing better
  unsigned distance = 0;         // distance_of() it

  [[nodiscard]] bool is_what_is_wanted() const { return !only_compatible && distance == 0; }
  [[nodiscard]] bool is_better_than(const Found& other) const {
    return std::pair(only_compatible, distance) < std::pair(other.only_compatible, other.distance);
  }
};

class Search {
 public:
  Search(const Content& content, const Platform* wanted) : content_(content), wanted_(wanted) {}

  /// The best of the best rank, of several the first. An error where nothing could be looked at any more.
  Result<std::optional<Found>> among(const std::vector<ManifestDescriptor>& candidates, int nesting,
                                     bool only) {
    if (nesting > kMaxIndexNesting)
      return fail(EINVAL, "indexes are nested deeper than the limit of ", kMaxIndexNesting);
    for (const ManifestDescriptor& entry : candidates) {
      if (entry.platform && !entry.is_attestation && entry.artifact_type.empty())
        seen_.insert(platform_text(*entry.platform));
    }
    only = only && candidates.size() == 1;
    std::optional<Found> best;
    for (const Rank rank : {Rank::kNamed, Rank::kOpen, Rank::kCompatible, Rank::kArtifact}) {
      for (const ManifestDescriptor& entry : candidates) {
        if (rank_of(entry, wanted_) != rank) continue;
        LB_ASSIGN(auto found, within(entry, rank, nesting, only));
        if (found && found->is_what_is_wanted()) return found;
        if (found && (!best || found->is_better_than(*best))) best = std::move(found);
      }
      if (best && (!best->only_compatible || rank == Rank::kCompatible)) break;
    }
    return best;
  }

  /// " linux/arm64 linux/s390x".
  [[nodiscard]] std::string seen() const {
    std::string text;
    for (const std::string& platform : seen_) text += str_cat(" ", printable(platform));
    return text;
  }
  /// Why a document could not be looked at.
  [[nodiscard]] const std::optional<Error>& first_error() const { return first_error_; }
  /// Why what could be looked at is no image.
  [[nodiscard]] const std::optional<Error>& no_image() const { return no_image_; }

 private:
  Result<std::optional<Found>> within(const ManifestDescriptor& entry, Rank rank, int nesting, bool only) {
    if (entry.kind == DocumentKind::kManifest) {
      // The only one is judged by who opens it, and says what is wrong with it.
      if (only) return Found{entry};
      if (rank == Rank::kOpen || rank == Rank::kArtifact) return if_config_fits(entry);
      if (wanted_ == nullptr) return if_there(entry);
      return fitting(entry, *entry.platform);
    }
    LB_TRY(count_documents(1));
    auto text = content_.read_document(entry.digest, entry.size_bytes, kMaxManifestJsonBytes, "index");
    auto nested = text ? parse_index(*text, str_cat("index ", entry.digest.text()))
                       : Result<IndexDocument>(std::unexpected(text.error()));
    if (!nested) return passed_over(nested.error());
    for (const auto& [name, why] : nested->others) {
      if (!no_image_) no_image_ = Error{ENOTSUP, why};
    }
    return among(nested->manifests, nesting + 1, only);
  }

  [[nodiscard]] Found fitting(const ManifestDescriptor& entry, const Platform& platform) const {
    return {entry, fit_of(platform, *wanted_) == Fit::kCompatible, distance_of(platform, *wanted_)};
  }

  Result<void> count_documents(int count) {
    if ((documents_read_ += count) <= kMaxDocumentsRead) return {};
    return fail(EINVAL, "more than ", kMaxDocumentsRead, " documents would have to be read, the limit");
  }

  /// One that is broken is no reason not to take another; somebody who interrupts wants none.
  Result<std::optional<Found>> passed_over(const Error& error) {
    if (error.code == EINTR) return std::unexpected(error);
    auto& first = error.code == ENOTSUP ? no_image_ : first_error_;
    if (!first) first = error;
    return std::nullopt;
  }

  Result<std::optional<Found>> if_there(const ManifestDescriptor& entry) {
    LB_TRY(count_documents(1));
    const auto text =
        content_.read_document(entry.digest, entry.size_bytes, kMaxManifestJsonBytes, "manifest");
    if (!text) return passed_over(text.error());
    return Found{entry};
  }

  Result<std::optional<Found>> if_config_fits(const ManifestDescriptor& entry) {
    LB_TRY(count_documents(2));
    const auto platform = platform_of(entry);
    if (!platform) return passed_over(platform.error());
    if (wanted_ == nullptr) return Found{entry};
    if (fit_of(*platform, *wanted_) != Fit::kNot) return fitting(entry, *platform);
    seen_.insert(platform_text(*platform));
    return std::nullopt;
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
  const Platform* wanted_;  // null: any
  int documents_read_ = 0;
  std::set<std::string> seen_;
  std::optional<Error> first_error_;
  std::optional<Error> no_image_;
};

Result<ManifestDescriptor> search_for(const Content& content,
                                      const std::vector<ManifestDescriptor>& candidates,
                                      const Platform* wanted, std::string_view what) {
  Search search(content, wanted);
  auto found = search.among(candidates, 0, true);
  if (!found) return while_doing(found.error(), what);
  if (*found) return std::move((*found)->entry);
  // What could not be read is a better reason than what is not there.
  if (search.first_error()) return while_doing(*search.first_error(), what);
  const std::string seen = search.seen();
  if (search.no_image() && seen.empty())
    return while_doing(*search.no_image(), what, " has no container image in it");
  if (wanted == nullptr) return fail(ENOTSUP, what, " has no image in it");
  return fail(ENOTSUP, what, " has nothing for ", platform_text(*wanted),
              seen.empty() ? "" : "; it has:", seen, seen.empty() ? "" : " (--platform takes another's)");
}

}  // namespace

Result<ManifestDescriptor> choose_manifest(const Content& content,
                                           const std::vector<ManifestDescriptor>& candidates,
                                           const Platform& wanted, std::string_view what) {
  return search_for(content, candidates, &wanted, what);
}

Result<ManifestDescriptor> choose_any_manifest(const Content& content,
                                               const std::vector<ManifestDescriptor>& candidates,
                                               std::string_view what) {
  return search_for(content, candidates, nullptr, what);
}

}  // namespace layerboot::store
