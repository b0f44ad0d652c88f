#include "launcher/store_pull.h"

#include <sys/stat.h>

#include <algorithm>
#include <cctype>
#include <optional>
#include <system_error>

#include "launcher/run_tool.h"
#include "launcher/store_index.h"
#include "oci-mount/base/progress.h"

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
  std::optional<Progress> progress;
  if (options.show_progress) progress.emplace(str_cat("pulling ", name), 0);
  const std::uint64_t before = size_of_store(store);
  ToolSpec skopeo;
  skopeo.argv = {"skopeo", "copy", "--quiet"};
  if (!options.tls_verify) skopeo.argv.emplace_back("--src-tls-verify=false");
  skopeo.argv.push_back(str_cat("docker://", name));
  skopeo.argv.push_back(str_cat("oci:", store.string(), ":", name));
  skopeo.on_tick = [&] {
    const std::uint64_t now = size_of_store(store);
    if (progress) progress->update(now > before ? now - before : 0);
  };
  const auto copied = run_tool(skopeo);
  if (copied) return name;
  if (copied.error().code == ENOENT) {
    return fail(ENOENT, "skopeo, which fetches images, is not installed: apt-get install skopeo");
  }
  return while_doing(copied.error(), "cannot pull ", name);
}

}  // namespace layerboot::launcher
