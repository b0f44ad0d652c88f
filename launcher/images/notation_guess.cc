#include "launcher/images/notation_guess.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <numeric>
#include <system_error>

#include "launcher/images/image_name.h"
#include "oci-mount/base/files.h"
#include "oci-mount/store/tar_archive.h"

namespace layerboot::launcher {

namespace {

namespace fs = std::filesystem;

constexpr std::array<std::string_view, 9> kArchiveEndings = {
    ".tar", ".tar.gz", ".tgz", ".tar.zst", ".tar.xz", ".tar.bz2", ".qcow2", ".iso", ".img"};
constexpr std::size_t kMaxTypedBytes = 256;

bool is_there(const fs::path& path) {
  std::error_code ignored;
  return fs::exists(path, ignored);
}

bool ends_like_a_file(std::string_view text) {
  return std::ranges::any_of(kArchiveEndings,
                             [&](std::string_view ending) { return text.ends_with(ending); });
}

bool is_path_like(std::string_view text) {
  return text.starts_with('/') || text.starts_with("./") || text.starts_with("../") ||
         text.starts_with('~') || text == "." || text == ".." || ends_like_a_file(text);
}

/// "https://hub.docker.com/_/debian" and "https://hub.docker.com/r/team/app" are pages about images.
std::string name_in_url(std::string_view rest) {
  constexpr std::string_view kHubPages = "hub.docker.com/";
  if (rest.starts_with(kHubPages)) {
    rest.remove_prefix(kHubPages.size());
    for (const std::string_view kind : {"_/", "r/"}) {
      if (rest.starts_with(kind)) rest.remove_prefix(kind.size());
    }
  }
  while (rest.ends_with('/')) rest.remove_suffix(1);
  const auto name = parse_image_name(rest);
  return name ? std::string(rest) : std::string();
}

Error url_error(std::string_view text, std::string_view rest) {
  if (ends_like_a_file(text)) {
    return {EINVAL, str_cat("\"", text,
                            "\" is a URL of a file: fetch it first, then name it docker-archive:FILE "
                            "(of docker save) or oci-archive:FILE")};
  }
  const std::string name = name_in_url(rest);
  return {EINVAL, str_cat("\"", text, "\" is a URL: images of registries are named without https://",
                          name.empty() ? ", such as debian:12 or localhost:5000/app" : ": write ", name)};
}

std::string what_directory_is(const fs::path& path) {
  const std::string text = path.string();
  if (is_there(path / "index.json") && (is_there(path / "oci-layout") || is_there(path / "blobs")))
    return str_cat("is an OCI layout: write oci:", text);
  if (is_there(path / "manifest.json") && is_there(path / "version"))
    return str_cat("is a copy of an image that skopeo made: layerboot pull dir:", text,
                   " NAME takes it into the local store");
  if (is_there(path / "config.json") && is_there(path / "rootfs"))
    return str_cat("is a container's bundle: write dir:", text, "/rootfs");
  return str_cat("is a directory: write dir:", text, " to have it as the root file system");
}

std::string what_file_is(const fs::path& path) {
  const std::string text = path.string();
  std::array<unsigned char, 6> magic{};
  const auto fd = open_path(path, O_RDONLY);
  if (!fd) return str_cat("can't be read: ", fd.error().describe());
  [[maybe_unused]] const auto got = ::pread(fd->get(), magic.data(), magic.size(), 0);
  const auto begins = [&](std::string_view with) {
    return std::equal(with.begin(), with.end(), magic.begin(),
                      [](char a, unsigned char b) { return static_cast<unsigned char>(a) == b; });
  };
  if (begins("\x1f\x8b") || begins("\x28\xb5\x2f\xfd") ||
      begins("\xfd"
             "7zXZ") ||
      begins("BZh")) {
    return str_cat("is compressed: layerboot pull docker-archive:", text,
                   " NAME takes what docker save made into the local store");
  }
  const auto archive = store::TarArchive::open(path);
  if (!archive)
    return "is no archive of an image: images are OCI layouts, tars of docker save, or directories";
  if ((*archive)->find("manifest.json", ""))
    return str_cat("is an archive of docker save: write docker-archive:", text);
  if ((*archive)->find("index.json", "")) return str_cat("is an OCI archive: write oci-archive:", text);
  return "is a tar, but of no image: unpack it into a directory, and write dir:DIRECTORY";
}

/// How many letters are to be changed, put in, left out or swapped with their neighbour (optimal string
/// alignment).
std::size_t distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> before(b.size() + 1);
  std::vector<std::size_t> last(b.size() + 1);
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(last.begin(), last.end(), std::size_t{0});
  for (std::size_t i = 1; i <= a.size(); ++i) {
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t change = last[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
      row[j] = std::min({change, last[j] + 1, row[j - 1] + 1});
      const bool swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
      if (swapped) row[j] = std::min(row[j], before[j - 2] + 1);
    }
    before.swap(last);
    last.swap(row);
  }
  return last[b.size()];
}

}  // namespace

Result<void> check_notation(std::string_view text) {
  constexpr std::string_view kRegistry = "docker://";
  constexpr std::string_view kScheme = "://";
  if (text.starts_with(kRegistry)) return {};
  if (const auto at = text.find(kScheme); at != std::string_view::npos && text.find('/') == at + 1)
    return std::unexpected(url_error(text, text.substr(at + kScheme.size())));
  if (!is_path_like(text)) return {};
  fs::path path(text);
  const auto colon = text.rfind(':');
  std::string tag;
  if (!is_there(path) && colon != std::string_view::npos && colon > text.rfind('/')) {
    path = text.substr(0, colon);
    tag = text.substr(colon);
  }
  std::error_code error;
  const auto status = fs::status(path, error);
  if (!fs::exists(status)) {
    return fail(ENOENT, "no image \"", text,
                "\": there is no such file or directory; images have names such as debian:12");
  }
  std::string what = fs::is_directory(status) ? what_directory_is(path) : what_file_is(path);
  if (!tag.empty() && what.ends_with(path.string())) what += tag;
  return fail(EINVAL, "\"", text, "\" ", what);
}

std::vector<std::string> near_names(std::string_view typed, const std::vector<std::string>& known) {
  constexpr std::size_t kLettersASlip = 4;
  constexpr std::size_t kMaxSlips = 2;
  struct Near {
    std::size_t slips;
    std::string name;
  };
  const auto wanted = familiar_name(split_name(typed.substr(0, kMaxTypedBytes)).repository);
  const std::size_t allowed = std::min(kMaxSlips, wanted.size() / kLettersASlip);
  std::vector<Near> found;
  for (const std::string& name : known) {
    const auto have = familiar_name(split_name(name).repository);
    if (have.empty() || have.size() > kMaxTypedBytes) continue;
    const auto last_part = have.substr(have.rfind('/') + 1);
    const std::size_t slips = wanted == last_part ? 0 : distance(wanted, have);
    if (slips <= allowed) found.push_back({slips, std::string(familiar_name(name))});
  }
  std::ranges::stable_sort(found, {}, &Near::slips);
  std::vector<std::string> names;
  for (const Near& near : found) {
    if (names.size() < kMaxNearNames) names.push_back(near.name);
  }
  return names;
}

}  // namespace layerboot::launcher
