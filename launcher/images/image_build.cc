#include "launcher/images/image_build.h"

#include <algorithm>
#include <chrono>
#include <optional>
#include <system_error>

#include "launcher/host/run_tool.h"
#include "launcher/host/staging_directory.h"
#include "launcher/images/build_arguments.h"
#include "launcher/images/build_bases.h"
#include "launcher/images/containerfile.h"
#include "launcher/images/held_image.h"
#include "launcher/images/image_supply.h"
#include "launcher/images/store_index.h"
#include "launcher/images/store_leftovers.h"
#include "launcher/images/store_pull.h"
#include "oci-mount/base/absolute_path.h"
#include "oci-mount/base/ascii.h"
#include "oci-mount/base/files.h"
#include "oci-mount/base/log.h"
#include "oci-mount/base/printable.h"
#include "oci-mount/base/progress.h"
#include "oci-mount/store/reference.h"

namespace layerboot::launcher {

namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMaxIdBytes = 256;
/// For a builder that takes its container away.
constexpr std::chrono::seconds kPatience{15};
constexpr std::string_view kStagedName = "image";
/// What buildah calls an image of the store, the last of them; nobody else is to.
constexpr std::string_view kCopiedName = "layerboot-store";

std::vector<std::string> buildah(const StateDirs& dirs, std::vector<std::string> words) {
  const fs::path storage = dirs.data / "build";
  words.insert(words.begin(), {"buildah", "--root", (storage / "storage").string(), "--runroot",
                               (storage / "run").string()});
  return words;
}

/// An image of the store that buildah has got a copy of.
struct CopiedBase {
  BuildBase base;
  std::string id;
};

std::vector<std::string> build_words(const BuildOptions& options, const std::vector<CopiedBase>& bases,
                                     const fs::path& id_file) {
  // Without --force-rm a build that fails leaves its container, mounted.
  std::vector<std::string> words = {"build", "--layers",  "--force-rm",    "--format",
                                    "oci",   "--iidfile", id_file.string()};
  if (!options.file.empty()) words.insert(words.end(), {"--file", options.file.string()});
  for (const std::string& argument : options.arguments) words.insert(words.end(), {"--build-arg", argument});
  if (!options.platform.empty()) words.insert(words.end(), {"--platform", options.platform});
  if (options.no_cache) words.emplace_back("--no-cache");
  if (!options.tls_verify) words.emplace_back("--tls-verify=false");
  for (const CopiedBase& one : bases) {
    // By what it is called before and after its variables: which of them counts depends on the version.
    for (const std::string& name : {one.base.written, one.base.name})
      words.insert(words.end(), {"--build-context", str_cat(name, "=container-image://", one.id)});
  }
  words.push_back(options.context.string());
  return words;
}

Result<std::string> run_buildah(const ToolSpec& tool) {
  auto done = run_tool(tool);
  if (!done && done.error().code == ENOENT)
    return fail(ENOENT, "buildah, which builds images, is not installed: apt-get install buildah");
  return done;
}

/// The blobs of that layout are the store's.
Result<void> link_blobs(const fs::path& layout, const fs::path& store) {
  LB_ASSIGN(const fs::path blobs, absolute_path(store / "blobs"));
  std::error_code error;
  fs::create_directory_symlink(blobs, layout / "blobs", error);
  if (error) return fail(error.value(), "cannot make a link to the blobs of ", store.string());
  return {};
}

/// Into buildah's storage, where layers that are there are not copied again. `image` is as open_image() takes
/// it: of the store, or a layout of its own. Gives buildah's ID of it.
Result<std::string> copy_in(const StateDirs& dirs, const std::string& image, const std::string& platform,
                            const fs::path& scratch) {
  LB_ASSIGN(const auto parsed, store::parse_reference(image, dirs));
  std::optional<HeldImage> held;
  std::error_code error;
  // buildah takes neither every name nor a path with a ':' in it.
  const fs::path layout = scratch / kCopiedName;
  fs::remove_all(layout, error);
  std::string tag(kHeldName);
  if (parsed.in_store) {
    LB_ASSIGN(held, hold_image(dirs, image));
    LB_TRY(write_layout_of(layout, *held));
    LB_TRY(link_blobs(layout, dirs.store()));
  } else {
    LB_ASSIGN(const fs::path whole, absolute_path(parsed.layout));
    fs::create_directory_symlink(whole, layout, error);
    if (error) return fail(error.value(), "cannot make a link to ", parsed.layout.string());
    tag = parsed.names.empty() ? "" : parsed.names.front();
  }
  std::vector<std::string> words = {"pull", "--quiet"};
  if (!platform.empty()) words.insert(words.end(), {"--platform", platform});
  words.push_back(str_cat("oci:", kCopiedName, tag.empty() ? "" : ":", tag));
  ToolSpec tool;
  tool.argv = buildah(dirs, std::move(words));
  tool.working_directory = scratch;
  tool.patience = kPatience;
  LB_ASSIGN(const std::string id, run_buildah(tool));
  return std::string(trim_blanks(id));
}

Result<std::optional<CopiedBase>> copy_base(const StateDirs& dirs, const BuildOptions& options,
                                            const BuildBase& base, const fs::path& scratch) {
  // Where it is, is said; and what is no name of an image is for buildah to tell.
  if (store::says_its_notation(base.name) && !base.name.starts_with("docker://")) return std::nullopt;
  if (!store::parse_reference(base.name, dirs)) return std::nullopt;
  const std::string& platform = base.platform.empty() ? options.platform : base.platform;
  LB_ASSIGN(const auto there, image_that_is_there(dirs, base.name, {.platform = platform}));
  if (!there) return std::nullopt;
  if (base.written.contains('='))
    return fail(ENOTSUP, "the local store has ", printable(base.name), ", which buildah can't be told of ",
                printable(base.written), ": name it without a '=', or build with --vm");
  if (options.show_progress) log_info("taking ", printable(base.name), " of the local store");
  auto id = copy_in(dirs, *there, platform, scratch);
  if (!id) return while_doing(id.error(), "cannot give buildah ", printable(base.name));
  return CopiedBase{.base = base, .id = *std::move(id)};
}

Result<store::Platform> platform_of(const std::string& text, const store::Platform& otherwise) {
  return text.empty() ? otherwise : store::parse_platform(text);
}

/// What can't be told whether the store has it is an error, as whatever buildah would fetch by that name may
/// be a stranger's.
Result<BuildBases> bases_of(const BuildOptions& options, const store::Platform& target) {
  LB_ASSIGN(const Recipe recipe, read_recipe(options));
  // Which buildah has the C preprocessor read.
  if (recipe.file.extension() == ".in")
    return fail(ENOTSUP, recipe.file.string(),
                ": layerboot reads no templates: give what 'cpp -E -P' makes of it");
  auto instructions = skim_containerfile(recipe.text);
  if (!instructions) return while_doing(instructions.error(), recipe.file.string());
  LB_ASSIGN(const auto arguments, parse_build_arguments(options.arguments));
  BuildBases found = bases_in(*instructions, arguments, target);
  if (found.unclear.empty()) return found;
  return fail(ENOTSUP, recipe.file.string(), ": ", found.unclear.front(),
              ": whether the local store has that image can't be told: write its name out");
}

/// buildah is told of an image by its name alone, and takes it whatever FROM says of the platform.
Result<void> check_names(const std::vector<CopiedBase>& copied, const std::vector<BuildBase>& bases,
                         const store::Platform& target) {
  for (const CopiedBase& one : copied) {
    LB_ASSIGN(const store::Platform platform, platform_of(one.base.platform, target));
    for (const BuildBase& other : bases) {
      const bool is_same_name = other.name == one.base.name || other.written == one.base.written ||
                                other.name == one.base.written || other.written == one.base.name;
      if (!is_same_name) continue;
      LB_ASSIGN(const store::Platform wanted, platform_of(other.platform, target));
      if (wanted == platform) continue;
      return fail(ENOTSUP, "the local store has ", printable(one.base.name), ", which is named for ",
                  store::platform_text(platform), " and for ", store::platform_text(wanted),
                  "; buildah can be told of one only: give one of them another name (layerboot tag)");
    }
  }
  return {};
}

/// Those that the store has. What buildah is to find and to say itself, it finds and says.
Result<std::vector<CopiedBase>> copy_bases(const StateDirs& dirs, const BuildOptions& options,
                                           const fs::path& scratch) {
  std::vector<CopiedBase> copied;
  LB_ASSIGN(const store::Platform target, platform_of(options.platform, store::host_platform()));
  LB_ASSIGN(const BuildBases found, bases_of(options, target));
  for (const BuildBase& base : found.bases) {
    const auto same = std::ranges::find_if(copied, [&](const CopiedBase& other) {
      return other.base.name == base.name && other.base.platform == base.platform;
    });
    if (same != copied.end()) {
      copied.push_back({.base = base, .id = std::string(same->id)});
      continue;
    }
    LB_ASSIGN(auto one, copy_base(dirs, options, base, scratch));
    if (one) copied.push_back(*std::move(one));
  }
  LB_TRY(check_names(copied, found.bases, target));
  return copied;
}

/// What buildah calls the image: the digest of its config.
Result<std::string> run_build(const StateDirs& dirs, const BuildOptions& options, const fs::path& scratch) {
  LB_ASSIGN(const auto bases, copy_bases(dirs, options, scratch));
  const fs::path id_file = scratch / "id";
  ToolSpec tool;
  tool.argv = buildah(dirs, build_words(options, bases, id_file));
  tool.shows_all = true;
  tool.patience = kPatience;
  LB_TRY(run_buildah(tool));
  LB_ASSIGN(const std::string text, read_file(id_file, kMaxIdBytes));
  const std::string_view id = trim_blanks(text);
  return id.starts_with("sha256:") ? std::string(id) : str_cat("sha256:", id);
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

Result<Recipe> read_recipe(const BuildOptions& options) {
  std::vector<fs::path> tried = {options.context / "Containerfile", options.context / "Dockerfile"};
  // As buildah looks for it.
  if (!options.file.empty()) tried = {options.file, options.context / options.file};
  for (const fs::path& path : tried) {
    auto text = read_file(path, kMaxContainerfileBytes);
    if (text) return Recipe{.file = path, .text = *std::move(text)};
    if (text.error().code != ENOENT) return std::unexpected(text.error());
  }
  return fail(ENOENT, "no ", tried.front().string(),
              options.file.empty() ? " and no Dockerfile beside it" : "");
}

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
    LB_ASSIGN(id, run_build(dirs, options, scratch.path()));
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
