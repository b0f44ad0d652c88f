#include "launcher/images/notation_guess.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <system_error>

#include "launcher/images/image_name.h"
#include "oci-mount/base/spelling.h"
#include "oci-mount/store/blob.h"
#include "oci-mount/store/compression.h"
#include "oci-mount/store/reference.h"
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

/// What was typed, taken apart at the tag where there is one.
struct Typed {
  fs::path path;
  std::string tag;  // with its colon
  Wanted wanted = Wanted::kToRead;
};

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

/// "write oci:/x:TAG", or how `layerboot pull` wants it.
std::string write_it(std::string_view notation, const Typed& typed) {
  const std::string whole = str_cat(notation, typed.path.string(), typed.tag);
  return typed.wanted == Wanted::kToRead ? str_cat("write ", whole)
                                         : str_cat("write layerboot pull ", whole, " NAME");
}

/// A root file system, which is read where it lies.
std::string as_root(const fs::path& directory, Wanted wanted) {
  const std::string whole = str_cat("dir:", directory.string());
  return wanted == Wanted::kToRead
             ? str_cat("write ", whole)
             : str_cat("there is nothing to pull: layerboot run ", whole, " has it as the root file system");
}

std::string what_directory_is(const Typed& typed) {
  const fs::path& path = typed.path;
  if (is_there(path / "index.json") && (is_there(path / "oci-layout") || is_there(path / "blobs")))
    return str_cat("is an OCI layout: ", write_it("oci:", typed));
  if (is_there(path / "manifest.json") && is_there(path / "version"))
    return str_cat("is a copy of an image that skopeo made: layerboot pull dir:", path.string(),
                   " NAME takes it into the local store");
  if (is_there(path / "config.json") && is_there(path / "rootfs"))
    return str_cat("is a container's bundle: ", as_root(path / "rootfs", typed.wanted));
  return str_cat("is a directory: ", as_root(path, typed.wanted),
                 typed.wanted == Wanted::kToRead ? " to have it as the root file system" : "");
}

std::string what_file_is(const Typed& typed) {
  auto file = store::FileBlob::open(typed.path, "it");
  if (!file) return str_cat("can't be read: ", file.error().describe());
  const auto compression = store::compression_of(**file);
  if (!compression) return str_cat("can't be read: ", compression.error().describe());
  if (*compression != store::Compression::kNone) {
    return str_cat("is compressed with ", store::compression_name(*compression), ": ",
                   write_it("docker-archive:", typed), " for what docker save made, ",
                   write_it("oci-archive:", typed), " for an OCI archive");
  }
  const auto archive = store::TarArchive::read_from(std::move(*file), typed.path);
  if (!archive)
    return "is no archive of an image: images are OCI layouts, tars of docker save, or directories";
  if ((*archive)->find("manifest.json", ""))
    return str_cat("is an archive of docker save: ", write_it("docker-archive:", typed));
  if ((*archive)->find("index.json", ""))
    return str_cat("is an OCI archive: ", write_it("oci-archive:", typed));
  return "is a tar, but of no image: unpack it into a directory, and write dir:DIRECTORY";
}

}  // namespace

Result<void> check_notation(std::string_view text, Wanted wanted) {
  constexpr std::string_view kRegistry = "docker://";
  constexpr std::string_view kScheme = "://";
  if (text.starts_with(kRegistry)) return {};
  if (const auto at = text.find(kScheme); at != std::string_view::npos && text.find('/') == at + 1)
    return std::unexpected(url_error(text, text.substr(at + kScheme.size())));
  if (store::says_its_notation(text) || !is_path_like(text)) return {};
  Typed typed{fs::path(text), {}, wanted};
  const auto colon = text.rfind(':');
  if (!is_there(typed.path) && colon != std::string_view::npos && colon > text.rfind('/')) {
    typed.path = text.substr(0, colon);
    typed.tag = text.substr(colon);
  }
  std::error_code error;
  const auto status = fs::status(typed.path, error);
  if (!fs::exists(status)) {
    const bool may_be_a_name = parse_image_name(text).has_value();
    return fail(ENOENT, "no image \"", text, "\": there is no such file or directory; ",
                may_be_a_name ? str_cat("if it is a registry's image, write docker://", text)
                              : std::string("images have names such as debian:12"));
  }
  return fail(EINVAL, "\"", text, "\" ",
              fs::is_directory(status) ? what_directory_is(typed) : what_file_is(typed));
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
    const std::size_t slips = wanted == last_part ? 0 : spelling_slips(wanted, have);
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
