#include "launcher/images/image_supply.h"

#include <algorithm>
#include <optional>
#include <system_error>

#include "launcher/images/notation_guess.h"
#include "launcher/images/pull_source.h"
#include "launcher/images/store_pull.h"
#include "oci-mount/base/log.h"
#include "oci-mount/base/printable.h"
#include "oci-mount/store/reference.h"

namespace layerboot::launcher {

namespace {

/// "; near it are: debian:12, …", or "".
std::string near_ones(const StateDirs& dirs, const std::string& reference) {
  const auto entries = read_entries(dirs.store());
  if (!entries) return {};
  std::vector<std::string> names;
  for (const IndexEntry& entry : *entries) names.push_back(entry.name);
  std::string list;
  for (const std::string& name : near_names(reference, names))
    list += str_cat(list.empty() ? "" : ", ", name);
  return list.empty() ? list : str_cat("; the local store has: ", list);
}

/// An image that was made here, as ./dev image makes the default one: a layout of its own.
std::optional<std::string> made_here(const StateDirs& dirs, const std::string& reference) {
  const SplitName name = split_name(reference);
  const bool plain = !name.repository.empty() && name.repository.find('/') == std::string_view::npos &&
                     !name.repository.starts_with('.') && name.digest.empty();
  if (!plain) return {};
  const auto layout = dirs.data / "images" / name.repository;
  std::error_code ignored;
  if (!std::filesystem::exists(layout / "index.json", ignored)) return {};
  return str_cat("oci:", layout.string(), name.tag.empty() ? "" : ":", name.tag);
}

Result<std::string> fetch(const StateDirs& dirs, const std::string& reference, const SupplyOptions& options) {
  auto pulled = pull_image(dirs, {.reference = reference,
                                  .name = {},
                                  .platform = options.platform,
                                  .tls_verify = options.tls_verify,
                                  .show_progress = options.show_progress});
  if (pulled || pulled.error().code == EINTR) return pulled;
  return fail(pulled.error().code, pulled.error().text, near_ones(dirs, reference));
}

/// Whether its name leads to where it came from: a tag that was given to it here may be a stranger's there.
bool is_of_its_registry(const IndexEntry& entry) {
  const auto name = parse_image_name(entry.name);
  if (!name) return false;
  const std::string source = str_cat("docker://", name->repository);
  return entry.source.starts_with(str_cat(source, "@")) || entry.source.starts_with(str_cat(source, ":"));
}

/// Whether it is for another platform than is wanted, and may be had for that. Where nobody asked for one,
/// only a registry is asked: what came from elsewhere is what it is.
bool is_to_be_fetched_for(const StoredImage& image, const std::string& platform) {
  if (image.platform.architecture.empty()) return false;
  if (platform.empty()) return image.state == ImageState::kOtherPlatform && is_of_its_registry(image);
  const auto wanted = store::parse_platform(platform);
  return wanted && store::fit_of(image.platform, *wanted) == store::Fit::kNot;
}

/// What the store has of an image that is wanted.
struct Stock {
  enum class Use : std::uint8_t { kNone, kAsItIs, kDamaged };
  Use use = Use::kNone;
  StoredImage image = {};
};

/// Whether the store has it, and it is worth a try.
Stock look_at_stock(const StateDirs& dirs, const std::vector<IndexEntry>& entries,
                    const SupplyOptions& options) {
  if (entries.empty() || options.policy == PullPolicy::kAlways) return {};
  StoredImage image = look_at_image(dirs.store(), entries.front());
  if (options.policy == PullPolicy::kNever) return {Stock::Use::kAsItIs, std::move(image)};
  if (is_to_be_fetched_for(image, options.platform)) {
    log_info("image ", image.name, " of the local store is for ", store::platform_text(image.platform),
             ": fetching it for ",
             options.platform.empty() ? store::platform_text(store::host_platform()) : options.platform);
    return {};
  }
  const bool whole = image.state != ImageState::kIncomplete;
  return {whole ? Stock::Use::kAsItIs : Stock::Use::kDamaged, std::move(image)};
}

std::string what_is_wrong(const StoredImage& image) {
  return str_cat("image ", printable(called(image)), " of the local store is not whole (",
                 printable(image.problem), ")");
}

/// What a registry has by the name of an image that is not from there is a stranger's: nothing is fetched by
/// it.
Error not_whole(const StoredImage& image) {
  const std::string name = printable(called(image));
  const std::string from = image.source.empty()
                               ? std::string("from where it came is not known: take it in again from there")
                               : str_cat("layerboot verify --repair ", name, " fetches it from ",
                                         printable(image.source), " again");
  return {EBADMSG,
          str_cat(what_is_wrong(image), ": ", from,
                  image.name.empty() ? "" : str_cat("; layerboot pull ", name, " takes the registry's"))};
}

/// By its digests, from where it came.
Result<void> make_whole(const StateDirs& dirs, const StoredImage& image, const SupplyOptions& options) {
  if (!is_of_its_registry(image)) return std::unexpected(not_whole(image));
  log_info(what_is_wrong(image), ": fetching it again");
  LB_ASSIGN(const auto findings, check_image(dirs.store(), image, options.show_progress));
  const auto repaired = repair_image(dirs, image, findings,
                                     {.reference = {},
                                      .name = {},
                                      .platform = {},
                                      .tls_verify = options.tls_verify,
                                      .show_progress = options.show_progress});
  if (repaired || repaired.error().code == EINTR) return repaired;
  return fail(repaired.error().code, repaired.error().describe(), "; layerboot pull ", printable(image.name),
              " takes what is there now");
}

Result<std::string> from_other_engine(const StateDirs& dirs, const std::string& reference,
                                      const SupplyOptions& options) {
  LB_ASSIGN(const PullSource source, parse_pull_source(reference, {}));
  LB_ASSIGN(const auto entries, find_entries(dirs, source.stored_name));
  const Stock stock = look_at_stock(dirs, entries, options);
  if (stock.use == Stock::Use::kAsItIs) {
    log_info("taking ", source.stored_name, " of the local store; --pull always takes it from ", reference,
             " again");
    return source.stored_name;
  }
  if (options.policy == PullPolicy::kNever) return std::unexpected(no_such_image(dirs, source.stored_name));
  if (stock.use == Stock::Use::kDamaged) log_info(what_is_wrong(stock.image), ": fetching it again");
  return fetch(dirs, reference, options);
}

/// "sha256:01ab…", or its digits alone, of which any part from the beginning will do.
bool is_digest_beginning(std::string_view text) {
  constexpr std::string_view kAlgorithm = "sha256:";
  constexpr std::size_t kDigits = 64;
  if (text.starts_with(kAlgorithm)) text.remove_prefix(kAlgorithm.size());
  return text.size() >= kMinDigestDigits && text.size() <= kDigits &&
         text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

bool begins_with(std::string_view digest, std::string_view beginning) {
  return digest.starts_with(beginning) ||
         digest.substr(std::min(digest.size(), digest.find(':') + 1)).starts_with(beginning);
}

/// What open_image() finds the entry by, where it does not by what was typed: that was part of a digest, or
/// the digest that the registry has for several platforms.
std::string openable(const store::Reference& typed, const IndexEntry& entry) {
  const bool by_name = std::ranges::find(typed.names, entry.name) != typed.names.end();
  if (by_name || (typed.digest && typed.digest->text() == entry.digest)) return typed.text;
  const auto name = parse_image_name(entry.name);
  return str_cat(name ? familiar_name(name->repository) : "image", "@", entry.digest);
}

}  // namespace

Result<std::vector<IndexEntry>> find_entries(const StateDirs& dirs, const std::string& reference) {
  LB_ASSIGN(const auto entries, read_entries(dirs.store()));
  std::vector<IndexEntry> found;
  const auto take = [&](auto&& fits) {
    std::ranges::copy_if(entries, std::back_inserter(found), fits);
    return !found.empty();
  };
  // What a tool wrote there may be no name that we would take: it must be possible to remove it all the same.
  if (!reference.empty() && take([&](const IndexEntry& entry) { return entry.name == reference; }))
    return found;
  if (!reference.empty() && take([&](const IndexEntry& entry) { return entry.digest == reference; }))
    return found;
  if (reference.starts_with('@') &&
      take([&](const IndexEntry& entry) { return reference == str_cat("@", entry.number); }))
    return found;
  const auto parsed = store::parse_reference(reference, dirs);
  if (parsed && parsed->in_store) {
    for (const std::string& name : parsed->names) {
      if (take([&](const IndexEntry& entry) { return entry.name == name; })) return found;
    }
    const std::string digest = parsed->digest ? parsed->digest->text() : "";
    const bool by_digest = !digest.empty() && take([&](const IndexEntry& entry) {
      return entry.digest == digest || entry.registry_digest == digest;
    });
    if (by_digest) return found;
  }
  if (is_digest_beginning(reference)) {
    take([&](const IndexEntry& entry) {
      return begins_with(entry.digest, reference) || begins_with(entry.registry_digest, reference);
    });
  }
  return found;
}

Result<IndexEntry> one_entry(const StateDirs& dirs, const std::string& reference) {
  LB_ASSIGN(const auto entries, find_entries(dirs, reference));
  if (entries.empty()) return std::unexpected(no_such_image(dirs, reference));
  const IndexEntry& first = entries.front();
  const bool ambiguous =
      std::ranges::any_of(entries, [&](const IndexEntry& other) { return other.digest != first.digest; });
  if (!ambiguous) return first;
  if (first.name != entries.back().name)
    return fail(EINVAL, "\"", reference, "\" is the beginning of several images' digests");
  return entries.back();
}

Error no_such_image(const StateDirs& dirs, const std::string& reference) {
  return {ENOENT, str_cat("no image \"", reference, "\" in the local store ", dirs.store().string(),
                          near_ones(dirs, reference), "; layerboot images lists what is there")};
}

Result<std::optional<std::string>> image_that_is_there(const StateDirs& dirs, const std::string& reference,
                                                       const SupplyOptions& options) {
  LB_ASSIGN(const auto parsed, store::parse_reference(reference, dirs));
  if (!parsed.in_store) return std::nullopt;
  LB_ASSIGN(const auto entries, find_entries(dirs, reference));
  const Stock stock = look_at_stock(dirs, entries, options);
  if (stock.use == Stock::Use::kDamaged) return std::unexpected(not_whole(stock.image));
  if (stock.use == Stock::Use::kAsItIs) return openable(parsed, entries.front());
  return entries.empty() ? made_here(dirs, reference) : std::nullopt;
}

Result<std::string> supply_image(const StateDirs& dirs, const std::string& reference,
                                 const SupplyOptions& options) {
  LB_TRY(check_notation(reference));
  if (is_other_engines(reference)) return from_other_engine(dirs, reference, options);
  LB_ASSIGN(const auto parsed, store::parse_reference(reference, dirs));
  if (!parsed.in_store) return reference;
  LB_ASSIGN(const auto entries, find_entries(dirs, reference));
  const Stock stock = look_at_stock(dirs, entries, options);
  if (stock.use == Stock::Use::kDamaged) LB_TRY(make_whole(dirs, stock.image, options));
  if (stock.use != Stock::Use::kNone) return openable(parsed, entries.front());
  if (const auto made = entries.empty() ? made_here(dirs, reference) : std::nullopt) return *made;
  if (options.policy == PullPolicy::kNever) return std::unexpected(no_such_image(dirs, reference));
  LB_TRY(fetch(dirs, reference, options));
  return reference;
}

}  // namespace layerboot::launcher
