#include "oci-mount/store/reference.h"

#include <algorithm>
#include <array>
#include <utility>

#include "oci-mount/base/decimal.h"
#include "oci-mount/store/containerd.h"

namespace layerboot::store {

namespace {

constexpr std::size_t kMaxReferenceBytes = 4096;
constexpr std::string_view kDirectory = "dir:";
constexpr std::string_view kContainerd = "containerd:";
constexpr std::string_view kRegistry = "docker://";

struct OtherNotation {
  std::string_view prefix;
  std::string_view instead;
};
constexpr std::array kOtherNotations{
    OtherNotation{"docker-daemon:", "layerboot pull docker-daemon:NAME"},
    OtherNotation{"containers-storage:", "layerboot pull containers-storage:NAME"},
};

bool is_name(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](unsigned char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           std::string_view("._-/:").find(static_cast<char>(c)) != std::string_view::npos;
  });
}

/// `debian:12` is also `docker.io/library/debian:12`, and `a/b` is also `docker.io/a/b`, as Docker has it.
std::vector<std::string> names_for(std::string_view typed) {
  constexpr std::string_view kHub = "docker.io/";
  constexpr std::string_view kOfficial = "docker.io/library/";
  const auto last_slash = typed.rfind('/');
  const auto last_part = last_slash == std::string_view::npos ? typed : typed.substr(last_slash + 1);
  std::string name(typed);
  if (last_part.find(':') == std::string_view::npos) name += ":latest";
  std::vector<std::string> names{name};
  const auto first_part = std::string_view(name).substr(0, name.find('/'));
  if (last_slash == std::string_view::npos) {
    names.push_back(str_cat(kOfficial, name));
  } else if (name.starts_with(kOfficial)) {
    names.push_back(name.substr(kOfficial.size()));
  } else if (name.starts_with(kHub)) {
    names.push_back(name.substr(kHub.size()));
  } else if (first_part.find_first_of(".:") == std::string_view::npos && first_part != "localhost") {
    names.push_back(str_cat(kHub, name));
  }
  return names;
}

}  // namespace

namespace {

struct FileNotation {
  std::string_view prefix;
  SourceKind kind;
  std::string_view form;
};
constexpr std::array kFileNotations{
    FileNotation{"oci:", SourceKind::kLayout, "oci:DIR or oci:DIR:TAG"},
    FileNotation{"oci-archive:", SourceKind::kOciArchive, "oci-archive:FILE or oci-archive:FILE:TAG"},
    FileNotation{"docker-archive:", SourceKind::kDockerArchive,
                 "docker-archive:FILE or docker-archive:FILE:NAME:TAG"},
};

/// PATH[:TAG], behind the notation's prefix.
Result<Reference> parse_file_notation(Reference reference, const FileNotation& notation) {
  const auto rest = std::string_view(reference.text).substr(notation.prefix.size());
  const auto colon = rest.find(':');
  reference.kind = notation.kind;
  reference.layout = rest.substr(0, colon);
  if (reference.layout.empty())
    return fail(EINVAL, "\"", reference.text, "\" names no path: write ", notation.form);
  if (colon == std::string_view::npos) return reference;
  const auto tag = rest.substr(colon + 1);
  if (tag.empty()) return fail(EINVAL, "\"", reference.text, "\" has an empty tag: write ", notation.form);
  if (tag.starts_with('@')) {
    reference.number = parse_whole<std::size_t>(tag.substr(1));
    if (!reference.number)
      return fail(EINVAL, "\"", reference.text, "\" has no number behind its @: the first image is @0");
  } else if (notation.kind == SourceKind::kDockerArchive) {
    reference.names = names_for(tag);
  } else {
    reference.names.emplace_back(tag);
  }
  return reference;
}

}  // namespace

Result<Reference> parse_reference(std::string_view text, const StateDirs& dirs) {
  if (text.size() > kMaxReferenceBytes || text.find('\0') != std::string_view::npos) {
    return fail(EINVAL, "an image reference has at most ", kMaxReferenceBytes, " bytes and no NUL");
  }
  Reference reference;
  reference.text = text;
  for (const FileNotation& notation : kFileNotations) {
    if (text.starts_with(notation.prefix)) return parse_file_notation(std::move(reference), notation);
  }
  if (text.starts_with(kDirectory)) {
    // All of the rest: a directory has no tag, and may have a colon in its name.
    reference.kind = SourceKind::kDirectory;
    reference.layout = text.substr(kDirectory.size());
    if (reference.layout.empty()) return fail(EINVAL, "\"", text, "\" names no directory: write dir:PATH");
    return reference;
  }
  if (text.starts_with(kContainerd)) {
    const auto name = text.substr(kContainerd.size());
    if (!is_name(name)) return fail(EINVAL, "\"", text, "\" names no image: write containerd:NAME");
    reference.kind = SourceKind::kContainerd;
    reference.layout = containerd_root();
    reference.names = names_for(name);
    return reference;
  }
  for (const OtherNotation& other : kOtherNotations) {
    if (text.starts_with(other.prefix)) {
      return fail(ENOTSUP, "\"", text, "\": images of ", other.prefix,
                  " are taken into the local store first, by: ", other.instead, "; then name it without ",
                  other.prefix);
    }
  }
  reference.layout = dirs.store();
  reference.in_store = true;
  if (text.starts_with(kRegistry)) text.remove_prefix(kRegistry.size());
  const auto at = text.find('@');
  const std::string_view name = text.substr(0, at);
  if (!is_name(name)) {
    return fail(EINVAL, "\"", text, "\" is no image: write oci:DIR[:TAG], or a name such as debian:12");
  }
  reference.names = names_for(name);
  if (at == std::string_view::npos) return reference;
  const auto digest = Digest::parse(text.substr(at + 1));
  if (!digest) {
    return fail(EINVAL, "\"", reference.text,
                "\": behind the @ belongs a digest, sha256: and 64 digits of 0-9a-f");
  }
  reference.digest = *digest;
  for (std::string& full : reference.names)
    full = str_cat(full.substr(0, full.rfind(':')), "@", digest->text());
  return reference;
}

bool says_its_notation(std::string_view text) {
  const auto begins = [text](const auto& notation) { return text.starts_with(notation.prefix); };
  return std::ranges::any_of(kFileNotations, begins) || std::ranges::any_of(kOtherNotations, begins) ||
         std::ranges::any_of(std::array{kDirectory, kContainerd, kRegistry},
                             [text](std::string_view prefix) { return text.starts_with(prefix); });
}

}  // namespace layerboot::store
