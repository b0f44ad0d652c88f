#include "launcher/images/store_pull.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <optional>
#include <set>
#include <system_error>

#include "launcher/host/run_tool.h"
#include "launcher/host/staging_directory.h"
#include "launcher/images/local_source.h"
#include "launcher/images/pull_source.h"
#include "launcher/images/registry_image.h"
#include "launcher/images/skopeo.h"
#include "launcher/images/store_leftovers.h"
#include "oci-mount/base/files.h"
#include "oci-mount/base/log.h"
#include "oci-mount/base/printable.h"
#include "oci-mount/base/progress.h"

namespace layerboot::launcher {

namespace {

namespace fs = std::filesystem;
using store::Json;

/// What the image is called in the staging layout, where it is alone.
constexpr std::string_view kStagedName = "image";

/// What the copy is of, and where to.
struct Copy {
  const fs::path& store;
  const fs::path& staging;
  std::string source;
  bool into_store = false;  // blobs go straight there, and those that are there are not fetched
  bool keeps_digest = false;
  std::optional<store::Platform> platform;
  std::uint64_t total_bytes = 0;  // 0: not known
  std::string label;              // of the progress; "": none
};

/// skopeo does not read DOCKER_HOST, and takes tcp:// for TLS in any case.
std::string docker_host() {
  constexpr std::string_view kTcp = "tcp://";
  const char* const host = std::getenv("DOCKER_HOST");
  const char* const tls = std::getenv("DOCKER_TLS_VERIFY");
  const std::string_view text = host == nullptr ? "" : host;
  if (text.starts_with(kTcp) && (tls == nullptr || *tls == '\0'))
    return str_cat("http://", text.substr(kTcp.size()));
  return std::string(text);
}

std::vector<std::string> copy_words(const Copy& copy, bool tls_verify) {
  std::vector<std::string> words;
  if (copy.platform) {
    words = {"--override-os", copy.platform->os, "--override-arch", copy.platform->architecture};
    if (!copy.platform->variant.empty())
      words.insert(words.end(), {"--override-variant", copy.platform->variant});
  }
  words.insert(words.end(), {"copy", "--quiet"});
  if (!tls_verify) words.emplace_back("--src-tls-verify=false");
  if (copy.keeps_digest) words.emplace_back("--preserve-digests");
  if (copy.source.starts_with("docker-daemon:")) {
    if (const std::string host = docker_host(); !host.empty())
      words.insert(words.end(), {"--src-daemon-host", host});
  }
  if (copy.into_store) words.insert(words.end(), {"--dest-shared-blob-dir", "../blobs"});
  words.push_back(copy.source);
  // Relative: the store's path may hold a ':', at which skopeo would split.
  words.push_back(str_cat("oci:.:", kStagedName));
  return words;
}

/// Runs the copy, and gives the descriptor that the staging layout then has.
Result<Json> carry_out(const Copy& copy, bool tls_verify) {
  std::optional<Progress> progress;
  if (!copy.label.empty()) progress.emplace(copy.label, copy.total_bytes);
  // Of the store's blobs, and what skopeo is writing: what it says itself is for people, not programs.
  const std::uint64_t before = size_of_files_below(copy.store);
  LB_TRY(
      run_skopeo({.words = copy_words(copy, tls_verify), .working_directory = copy.staging, .on_tick = [&] {
                    if (!progress) return;
                    const std::uint64_t now = size_of_files_below(copy.store);
                    progress->update(now > before ? now - before : 0);
                  }}));
  return find_descriptor(copy.staging, [](const IndexEntry& entry) { return entry.name == kStagedName; });
}

/// skopeo does not sync what it writes.
Result<void> sync_store(const fs::path& store) {
  LB_ASSIGN(const UniqueFd fd, open_path(store, O_RDONLY | O_DIRECTORY));
  if (::syncfs(fd.get()) != 0) return errno_error("cannot sync ", store.string());
  return {};
}

std::vector<std::string> digests_of(const store::ManifestDocument& manifest) {
  std::vector<std::string> digests{manifest.config.text()};
  for (const auto& layer : manifest.layers) digests.push_back(layer.digest.text());
  return digests;
}

std::uint64_t bytes_to_fetch(const store::ManifestDocument& manifest,
                             const std::vector<BlobFinding>& findings) {
  std::uint64_t sum = 0;
  const auto add = [&](const store::Digest& digest, std::uint64_t size_bytes) {
    if (std::ranges::find(findings, digest.text(), &BlobFinding::digest) != findings.end()) sum += size_bytes;
  };
  add(manifest.config, manifest.config_size_bytes);
  for (const auto& layer : manifest.layers) add(layer.digest, layer.size_bytes);
  return sum;
}

bool is_known_and_whole(const fs::path& store, const std::string& name, const RegistryImage& found) {
  const auto entries = read_entries(store);
  if (!entries) return false;
  return std::ranges::any_of(*entries, [&](const IndexEntry& entry) {
    // The index alone does not tell which of its images it is.
    if (entry.name != name || entry.registry_digest != found.digest || entry.source != found.source)
      return false;
    const StoredImage image = look_at_image(store, entry);
    return image.problem.empty() && (!found.said_platform || image.platform == *found.said_platform);
  });
}

/// Without its index nobody would know.
void note_platform(Json& descriptor, const std::optional<store::Platform>& said) {
  if (!said) return;
  Json platform = {{"os", said->os}, {"architecture", said->architecture}};
  if (!said->variant.empty()) platform["variant"] = said->variant;
  descriptor["platform"] = std::move(platform);
}

void say_what_was_wrong(const std::vector<BlobFinding>& findings) {
  for (const BlobFinding& finding : findings) {
    if (!finding.missing) log_info(finding.what, "; it was fetched again");
  }
}

Result<void> pull_from_registry(const fs::path& store, const PullSource& source, const PullOptions& options,
                                const std::optional<store::Platform>& platform) {
  LB_ASSIGN(const RegistryImage found,
            look_up_in_registry(*source.registry_name, platform.value_or(store::host_platform()), store,
                                options.tls_verify));
  std::vector<BlobFinding> findings;
  if (found.manifest) {
    const std::string label =
        options.show_progress ? str_cat("checking what is there of ", source.stored_name) : "";
    LB_ASSIGN(findings, check_blobs(store, digests_of(*found.manifest), label));
    if (findings.empty() && is_known_and_whole(store, source.stored_name, found)) return {};
  }
  LB_ASSIGN(const StagingDirectory staging, StagingDirectory::create(store / "pull"));
  LB_ASSIGN(const SetAside aside, SetAside::move(store, findings, staging.path()));
  const Copy copy{.store = store,
                  .staging = staging.path(),
                  .source = found.source,
                  .into_store = true,
                  .keeps_digest = false,
                  .platform = found.manifest ? std::optional<store::Platform>() : platform,
                  .total_bytes = found.manifest ? bytes_to_fetch(*found.manifest, findings) : 0,
                  .label = options.show_progress ? str_cat("pulling ", source.stored_name) : ""};
  LB_ASSIGN(Json descriptor, carry_out(copy, options.tls_verify));
  note_platform(descriptor, found.said_platform);
  say_what_was_wrong(findings);
  LB_TRY(sync_store(store));
  return put_entry(store, descriptor,
                   {.name = source.stored_name,
                    .digest = {},
                    .media_type = {},
                    .registry_digest = found.digest,
                    .source = found.source});
}

/// `tried` has them all afterwards.
bool is_any_new(const std::vector<BlobFinding>& findings, std::set<std::string>& tried) {
  bool any = false;
  for (const BlobFinding& finding : findings) any = tried.insert(finding.digest).second || any;
  return any;
}

/// What is no image, or for another platform than the one that is wanted (none: for any), does not leave the
/// staging layout.
Result<void> check_staged(const fs::path& staging, const Json& descriptor,
                          const std::optional<store::Platform>& wanted) {
  LB_ASSIGN(const auto entry, store::parse_index_entry(descriptor, "its descriptor"));
  const StoredDocuments found = read_documents(staging, entry);
  if (!found.problem.empty()) return fail(ENOTSUP, found.problem);
  if (!wanted || store::fit_of(found.platform, *wanted) != store::Fit::kNot) return {};
  const std::string has = printable(store::platform_text(found.platform));
  return fail(ENOTSUP, "it is for ", has, ", not for ", store::platform_text(*wanted), "; --platform ", has,
              " takes it all the same");
}

Result<void> adopt_blobs(const fs::path& staging, const fs::path& store) {
  for (const char* const algorithm : {"sha256", "sha512"}) {
    std::error_code error;
    std::vector<std::string> digests;
    for (const auto& blob : fs::directory_iterator(staging / "blobs" / algorithm, error))
      digests.push_back(str_cat(algorithm, ":", blob.path().filename().string()));
    if (digests.empty()) continue;
    LB_TRY(make_directories(store / "blobs" / algorithm));
    LB_ASSIGN(const auto wanting, check_blobs(store, digests, {}));
    for (const BlobFinding& finding : wanting) {
      LB_ASSIGN(const auto digest, store::Digest::parse(finding.digest));
      const auto from = blob_path(staging, digest);
      if (::rename(from.c_str(), blob_path(store, digest).c_str()) != 0)
        return errno_error("cannot move ", from.string(), " into the store");
    }
  }
  return {};
}

/// From this machine: into a layout of its own first, as a look costs as much as the copy.
Result<void> take_in(const StateDirs& dirs, const PullSource& source, const PullOptions& options,
                     const std::optional<store::Platform>& platform) {
  const fs::path store = dirs.store();
  LB_ASSIGN(const StagingDirectory staging, StagingDirectory::create(store / "pull"));
  LB_ASSIGN(const LocalSource local,
            prepare_source(dirs, source.text, {.platform = platform, .or_other = options.any_platform},
                           staging.path()));
  const Copy copy{.store = store,
                  .staging = staging.path(),
                  .source = local.text,
                  .into_store = false,
                  .keeps_digest = options.keeps_digest,
                  .platform = platform,
                  .total_bytes = 0,
                  .label = options.show_progress ? str_cat("taking in ", source.stored_name) : ""};
  LB_ASSIGN(Json descriptor, carry_out(copy, true));
  note_platform(descriptor, local.said_platform);
  std::optional<store::Platform> wanted = platform;
  if (!wanted && !options.any_platform) wanted = store::host_platform();
  LB_TRY(check_staged(staging.path(), descriptor, wanted));
  LB_TRY(adopt_blobs(staging.path(), store));
  LB_TRY(sync_store(store));
  return put_entry(store, descriptor,
                   {.name = source.stored_name,
                    .digest = {},
                    .media_type = {},
                    .registry_digest = {},
                    .source = options.keep_source ? source.text : ""});
}

}  // namespace

std::uint64_t size_of_files_below(const fs::path& directory) {
  std::uint64_t sum = 0;
  std::error_code error;
  const auto end = fs::recursive_directory_iterator();
  for (fs::recursive_directory_iterator at(directory, error); !error && at != end; at.increment(error)) {
    struct stat st{};
    if (::lstat(at->path().c_str(), &st) == 0 && S_ISREG(st.st_mode))
      sum += static_cast<std::uint64_t>(st.st_size);
  }
  return sum;
}

Result<std::string> adopt_layout(const fs::path& store, const fs::path& layout,
                                 const std::string& staged_name, const std::string& name) {
  LB_ASSIGN(const Json descriptor,
            find_descriptor(layout, [&](const IndexEntry& entry) { return entry.name == staged_name; }));
  LB_TRY(adopt_blobs(layout, store));
  LB_TRY(sync_store(store));
  IndexEntry entry;
  entry.name = name;
  LB_TRY(put_entry(store, descriptor, entry));
  return store::string_member(descriptor, "digest", "the new image");
}

Result<std::string> pull_image(const StateDirs& dirs, const PullOptions& options) {
  const fs::path store = dirs.store();
  LB_ASSIGN(PullSource source, parse_pull_source(options.reference, options.name));
  std::optional<store::Platform> platform;
  if (!options.platform.empty()) {
    LB_ASSIGN(platform, store::parse_platform(options.platform));
  }
  const InterruptScope interruptible;
  LB_ASSIGN(const StoreLock lock, StoreLock::acquire(store));
  LB_TRY(remove_leftovers(store));
  const auto pulled = source.registry_name ? pull_from_registry(store, source, options, platform)
                                           : take_in(dirs, source, options, platform);
  // Of one that was killed before, and was not quite dead then.
  if (const auto cleaned = remove_leftovers(store); !cleaned) log_warn(cleaned.error().describe());
  if (pulled) return source.stored_name;
  const std::string& what = source.registry_name ? source.stored_name : source.text;
  return fail(pulled.error().code, "cannot pull ", what, ": ", pulled.error().describe(),
              source.registry_name ? registry_advice(pulled.error(), *source.registry_name) : "");
}

Result<std::vector<BlobFinding>> check_image(const fs::path& store, const StoredImage& image,
                                             bool show_progress) {
  return check_blobs(
      store, image.blobs,
      show_progress ? str_cat("checking ", image.name.empty() ? image.digest : image.name) : "");
}

Result<void> repair_image(const StateDirs& dirs, const StoredImage& image,
                          const std::vector<BlobFinding>& findings, const PullOptions& options) {
  const fs::path store = dirs.store();
  std::string source = image.source;
  if (source.empty()) {
    const auto name = parse_image_name(image.name);
    if (!name) {
      return fail(ENOENT, "from where ", image.name.empty() ? image.digest : image.name,
                  " came is not known: take it in again from there");
    }
    source = str_cat("docker://", name->text());
  }
  const InterruptScope interruptible;
  LB_ASSIGN(const StoreLock lock, StoreLock::acquire(store));
  LB_TRY(remove_leftovers(store));
  LB_ASSIGN(const StagingDirectory staging, StagingDirectory::create(store / "pull"));
  LocalChoice choice{.platform = {}, .or_other = true};
  if (!image.platform.architecture.empty()) choice.platform = image.platform;
  const auto local = prepare_source(dirs, source, choice, staging.path());
  if (!local) return while_doing(local.error(), "cannot fetch ", source, " again");
  const Copy copy{.store = store,
                  .staging = staging.path(),
                  .source = local->text,
                  .into_store = true,
                  .platform = {},
                  .total_bytes = 0,
                  .label = options.show_progress ? str_cat("fetching again ", image.name) : ""};
  std::set<std::string> tried;
  for (std::vector<BlobFinding> wrong = findings; is_any_new(wrong, tried);) {
    LB_ASSIGN(const SetAside aside, SetAside::move(store, wrong, staging.path()));
    const auto copied = carry_out(copy, options.tls_verify);
    if (!copied)
      return fail(copied.error().code, "cannot fetch ", source, " again: ", copied.error().describe());
    LB_TRY(sync_store(store));
    const StoredImage again = look_at_image(store, image);
    // A damaged manifest has kept the layers from being looked at.
    LB_ASSIGN(wrong, check_blobs(store, again.blobs, {}));
    // Of an index other platforms' images may be missing, as they were.
    std::erase_if(wrong, [](const BlobFinding& finding) { return finding.missing; });
    if (again.state != ImageState::kIncomplete && wrong.empty()) return {};
  }
  return fail(ENOENT, source, " is another image now, which has not all of this one: layerboot pull ",
              image.name, " takes the new one");
}

}  // namespace layerboot::launcher
