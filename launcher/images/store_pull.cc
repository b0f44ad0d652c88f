#include "launcher/images/store_pull.h"

#include <sys/stat.h>

#include <algorithm>
#include <cctype>
#include <optional>
#include <system_error>

#include "launcher/host/run_tool.h"
#include "launcher/images/store_index.h"
#include "launcher/images/store_leftovers.h"
#include "oci-mount/base/log.h"
#include "oci-mount/base/progress.h"
#include "oci-mount/store/image.h"
#include "oci-mount/store/oci_json.h"

namespace layerboot::launcher {

namespace {

constexpr std::size_t kMaxNameBytes = 255;

bool is_name_character(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) != 0 ||
         std::string_view("._-/:").find(c) != std::string_view::npos;
}

/// Bytes in the store's blobs and in what skopeo is writing: what it says itself is for people, not programs.
std::uint64_t size_of_store(const std::filesystem::path& store) {
  std::uint64_t sum = 0;
  std::error_code error;
  const auto end = std::filesystem::recursive_directory_iterator();
  for (std::filesystem::recursive_directory_iterator at(store, error); !error && at != end;
       at.increment(error)) {
    struct stat st{};
    if (::lstat(at->path().c_str(), &st) == 0 && S_ISREG(st.st_mode))
      sum += static_cast<std::uint64_t>(st.st_size);
  }
  return sum;
}

/// "localhost:5000/team/app:1" without its tag.
std::string_view repository_of(std::string_view name) { return name.substr(0, name.rfind(':')); }

ToolSpec skopeo(std::vector<std::string> words, const char* tls_option, const PullOptions& options) {
  ToolSpec tool;
  tool.argv = {"skopeo"};
  tool.argv.insert(tool.argv.end(), words.begin(), words.end());
  if (!options.tls_verify) tool.argv.emplace_back(str_cat(tls_option, "=false"));
  return tool;
}

Result<std::string> inspect(const std::string& what, const PullOptions& options) {
  return run_tool(skopeo({"inspect", "--raw", str_cat("docker://", what)}, "--tls-verify", options));
}

/// The manifest of the image for this machine, as the registry has it.
Result<std::string> fetch_manifest(const std::string& name, const PullOptions& options) {
  LB_ASSIGN(const std::string text, inspect(name, options));
  const auto index = store::parse_index(text, name);
  if (!index) return text;
  for (const auto& entry : index->manifests) {
    if (entry.kind == store::DocumentKind::kManifest && store::fits_host(entry))
      return inspect(str_cat(repository_of(name), "@", entry.digest.text()), options);
  }
  return fail(ENOENT, "it has nothing for linux/", store::host_architecture());
}

/// Whether the store has the image under its name: the same config and layers. (The manifest may be another:
/// skopeo converts Docker's.)
Result<bool> is_up_to_date(const std::filesystem::path& store, const std::string& name,
                           const std::string& manifest_text) {
  const auto manifest = store::parse_manifest(manifest_text, "its manifest");
  if (!manifest) return false;
  LB_ASSIGN(const StoreContents contents, StoreContents::read(store));
  const auto image = std::ranges::find(contents.images(), name, &StoredImage::name);
  if (image == contents.images().end() || image->layer_count != manifest->layers.size()) return false;
  std::error_code ignored;
  const auto has = [&](const store::Digest& digest) {
    return std::ranges::binary_search(image->blobs, digest.text()) &&
           std::filesystem::exists(blob_path(store, digest), ignored);
  };
  return has(manifest->config) &&
         std::ranges::all_of(manifest->layers, [&](const auto& layer) { return has(layer.digest); });
}

/// How much of it the store does not have; 0 where that can't be said (a manifest of an older kind, which
/// skopeo converts). ENOTSUP for layers that could not be served, before they are fetched.
Result<std::uint64_t> bytes_to_fetch(const std::filesystem::path& store, const std::string& manifest_text) {
  const auto manifest = store::parse_manifest(manifest_text, "its manifest");
  if (!manifest && manifest.error().code == ENOTSUP) return std::unexpected(manifest.error());
  if (!manifest) return std::uint64_t{0};
  std::error_code ignored;
  std::uint64_t sum = 0;
  const auto count = [&](const store::Digest& digest, std::uint64_t size_bytes) {
    if (!std::filesystem::exists(blob_path(store, digest), ignored)) sum += size_bytes;
  };
  count(manifest->config, manifest->config_size_bytes);
  for (const auto& layer : manifest->layers) count(layer.digest, layer.size_bytes);
  return sum;
}

Result<void> copy_with_progress(const std::filesystem::path& store, const std::string& name,
                                const PullOptions& options) {
  LB_ASSIGN(const std::string manifest, fetch_manifest(name, options));
  LB_ASSIGN(const bool up_to_date, is_up_to_date(store, name, manifest));
  if (up_to_date) return {};
  LB_ASSIGN(const std::uint64_t total_bytes, bytes_to_fetch(store, manifest));
  std::optional<Progress> progress;
  if (options.show_progress) progress.emplace(str_cat("pulling ", name), total_bytes);
  const std::uint64_t before = size_of_store(store);
  ToolSpec copy = skopeo({"copy", "--quiet"}, "--src-tls-verify", options);
  copy.argv.push_back(str_cat("docker://", name));
  copy.argv.push_back(str_cat("oci:", store.string(), ":", name));
  copy.on_tick = [&] {
    const std::uint64_t now = size_of_store(store);
    if (progress) progress->update(now > before ? now - before : 0);
  };
  LB_TRY(run_tool(copy));
  return {};
}

/// What to do about it, where that can be told.
std::string_view advice(const Error& error) {
  const bool refused = error.text.find("unauthorized") != std::string::npos ||
                       error.text.find("authentication required") != std::string::npos ||
                       error.text.find("denied") != std::string::npos;
  return refused ? "; log in first: skopeo login " : "";
}

}  // namespace

Result<std::string> full_name(std::string_view reference) {
  constexpr std::string_view kTransport = "docker://";
  if (reference.starts_with(kTransport)) reference.remove_prefix(kTransport.size());
  if (reference.empty() || reference.size() > kMaxNameBytes || reference.front() == '-' ||
      reference.front() == '/' || !std::ranges::all_of(reference, is_name_character)) {
    return fail(EINVAL, "\"", reference,
                "\" is no image of a registry: write a name such as debian:12 or localhost:5000/app");
  }
  std::string name(reference);
  const auto slash = name.rfind('/');
  const std::string_view last = std::string_view(name).substr(slash == std::string::npos ? 0 : slash + 1);
  if (last.find(':') == std::string_view::npos) name += ":latest";
  if (slash == std::string::npos) return str_cat("docker.io/library/", name);
  const std::string_view first = std::string_view(name).substr(0, name.find('/'));
  const bool is_host = first.find_first_of(".:") != std::string_view::npos || first == "localhost";
  return is_host ? name : str_cat("docker.io/", name);
}

Result<std::string> pull_image(const std::filesystem::path& store, const PullOptions& options) {
  LB_ASSIGN(const std::string name, full_name(options.reference));
  // skopeo splits oci:DIR:TAG at the first colon.
  if (store.string().find(':') != std::string::npos) {
    return fail(EINVAL, "the store ", store.string(),
                " has a ':' in its path, which skopeo can't take: set XDG_DATA_HOME");
  }
  const InterruptScope interruptible;
  LB_ASSIGN(const StoreLock lock, StoreLock::acquire(store));
  LB_TRY(remove_leftovers(store));
  const auto copied = copy_with_progress(store, name, options);
  // Of a copy that failed; and of an earlier one that was killed, and was not quite dead before.
  if (const auto cleaned = remove_leftovers(store); !cleaned) log_warn(cleaned.error().describe());
  if (copied) return name;
  if (copied.error().code == ENOENT && copied.error().text.find("skopeo") != std::string::npos) {
    return fail(ENOENT, "skopeo, which fetches images, is not installed: apt-get install skopeo");
  }
  const std::string_view what_to_do = advice(copied.error());
  return fail(copied.error().code, "cannot pull ", name, ": ", copied.error().describe(), what_to_do,
              what_to_do.empty() ? std::string_view() : std::string_view(name).substr(0, name.find('/')));
}

}  // namespace layerboot::launcher
