#include "launcher/images/image_build.h"

#include <algorithm>
#include <chrono>
#include <optional>
#include <system_error>

#include "launcher/host/run_tool.h"
#include "launcher/host/staging_directory.h"
#include "launcher/images/store_index.h"
#include "launcher/images/store_leftovers.h"
#include "launcher/images/store_pull.h"
#include "oci-mount/base/files.h"
#include "oci-mount/base/progress.h"

namespace layerboot::launcher {

namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMaxIdBytes = 256;
/// For a builder that takes its container away.
constexpr std::chrono::seconds kPatience{15};
constexpr std::string_view kStagedName = "image";

std::vector<std::string> buildah(const StateDirs& dirs, std::vector<std::string> words) {
  const fs::path storage = dirs.data / "build";
  words.insert(words.begin(), {"buildah", "--root", (storage / "storage").string(), "--runroot",
                               (storage / "run").string()});
  return words;
}

std::vector<std::string> build_words(const BuildOptions& options, const fs::path& id_file) {
  // Without --force-rm a build that fails leaves its container, mounted.
  std::vector<std::string> words = {"build", "--layers",  "--force-rm",    "--format",
                                    "oci",   "--iidfile", id_file.string()};
  if (!options.file.empty()) words.insert(words.end(), {"--file", options.file.string()});
  for (const std::string& argument : options.arguments) words.insert(words.end(), {"--build-arg", argument});
  if (!options.platform.empty()) words.insert(words.end(), {"--platform", options.platform});
  if (options.no_cache) words.emplace_back("--no-cache");
  if (!options.tls_verify) words.emplace_back("--tls-verify=false");
  words.push_back(options.context.string());
  return words;
}

/// What buildah calls the image: the digest of its config.
Result<std::string> run_build(const StateDirs& dirs, const BuildOptions& options, const fs::path& id_file) {
  ToolSpec tool;
  tool.argv = buildah(dirs, build_words(options, id_file));
  tool.shows_all = true;
  tool.patience = kPatience;
  auto built = run_tool(tool);
  if (!built && built.error().code == ENOENT)
    return fail(ENOENT, "buildah, which builds images, is not installed: apt-get install buildah");
  if (!built) return std::unexpected(built.error());
  LB_ASSIGN(std::string id, read_file(id_file, kMaxIdBytes));
  id.erase(id.find_last_not_of(" \n") + 1);
  return id.starts_with("sha256:") ? id : str_cat("sha256:", id);
}

/// The image of the store with that config, whole; nothing where there is none.
std::optional<StoredImage> find_built(const fs::path& store, const std::string& id) {
  const auto entries = read_entries(store);
  if (!entries) return {};
  for (const IndexEntry& entry : *entries) {
    StoredImage image = look_at_image(store, entry);
    if (image.config_digest == id && image.state != ImageState::kIncomplete) return image;
  }
  return {};
}

Result<void> give_name(const fs::path& store, const IndexEntry& known, const std::string& name) {
  if (name.empty() || known.name == name) return {};
  LB_ASSIGN(const auto descriptor, find_descriptor(store, known));
  IndexEntry entry;
  entry.name = name;
  return put_entry(store, descriptor, entry);
}

Result<std::string> name_it(const fs::path& store, const StoredImage& image, const std::string& name) {
  LB_TRY(give_name(store, image, name));
  return image.digest;
}

Result<std::string> copy_out(const StateDirs& dirs, const BuildOptions& options, const std::string& id) {
  const fs::path store = dirs.store();
  LB_ASSIGN(const StagingDirectory staging, StagingDirectory::create(store / "pull"));
  std::optional<Progress> progress;
  if (options.show_progress) progress.emplace("copying the image into the store", 0);
  ToolSpec tool;
  tool.argv = buildah(dirs, {"push", "--quiet", "--format", "oci", id, str_cat("oci:.:", kStagedName)});
  tool.working_directory = staging.path();
  tool.on_tick = [&] {
    if (progress) progress->update(size_of_files_below(staging.path()));
  };
  LB_TRY(run_tool(tool));
  return adopt_layout(store, staging.path(), std::string(kStagedName), options.name);
}

}  // namespace

Result<std::string> build_image(const StateDirs& dirs, const BuildOptions& options) {
  std::error_code error;
  if (!fs::is_directory(options.context, error))
    return fail(ENOTDIR, options.context.string(), " is no directory to build from");
  const InterruptScope interruptible;
  // Closed to others, as the store is.
  LB_TRY(make_directories(dirs.data));
  LB_TRY(make_directories(dirs.data / "build", 0700));
  std::string id;
  {
    LB_ASSIGN(const StagingDirectory scratch, StagingDirectory::create(dirs.cache / "build"));
    LB_ASSIGN(id, run_build(dirs, options, scratch.path() / "id"));
  }
  LB_ASSIGN(const StoreLock lock, StoreLock::acquire(dirs.store()));
  LB_TRY(remove_leftovers(dirs.store()));
  if (const auto there = find_built(dirs.store(), id)) return name_it(dirs.store(), *there, options.name);
  return copy_out(dirs, options, id);
}

Result<void> name_image(const fs::path& store, const std::string& digest, const std::string& name) {
  if (name.empty()) return {};
  LB_ASSIGN(const StoreLock lock, StoreLock::acquire(store));
  LB_ASSIGN(const auto entries, read_entries(store));
  const auto known = std::ranges::find(entries, digest, &IndexEntry::digest);
  if (known == entries.end()) return fail(ENOENT, "the store has no image ", digest, " any more");
  const auto named = std::ranges::find_if(
      entries, [&](const IndexEntry& entry) { return entry.digest == digest && entry.name == name; });
  return named != entries.end() ? Result<void>() : give_name(store, *known, name);
}

}  // namespace layerboot::launcher
