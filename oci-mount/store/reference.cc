#include "oci-mount/store/reference.h"

#include <algorithm>
#include <array>

namespace layerboot::store {

namespace {

constexpr std::size_t kMaxReferenceBytes = 4096;

struct OtherNotation {
  std::string_view prefix;
  std::string_view instead;
};
constexpr std::array kOtherNotations{
    OtherNotation{"oci-archive:", "unpack it with: skopeo copy oci-archive:FILE oci:DIR:TAG"},
    OtherNotation{"docker-archive:", "convert it with: skopeo copy docker-archive:FILE oci:DIR:TAG"},
    OtherNotation{"docker-daemon:", "convert it with: skopeo copy docker-daemon:NAME oci:DIR:TAG"},
    OtherNotation{"containers-storage:", "convert it with: skopeo copy containers-storage:NAME oci:DIR:TAG"},
    OtherNotation{
        "containerd:",
        "export it with: ctr images export FILE NAME; then skopeo copy oci-archive:FILE oci:DIR:TAG"},
    OtherNotation{"docker://", "fetch it with: skopeo copy docker://NAME oci:DIR:TAG"},
    OtherNotation{"dir:",
                  "serve a directory with another program, or make it a layer of an OCI layout with umoci"},
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

Result<Reference> parse_reference(std::string_view text, const StateDirs& dirs) {
  constexpr std::string_view kOci = "oci:";
  if (text.size() > kMaxReferenceBytes || text.find('\0') != std::string_view::npos) {
    return fail(EINVAL, "an image reference has at most ", kMaxReferenceBytes, " bytes and no NUL");
  }
  Reference reference;
  reference.text = text;
  if (text.starts_with(kOci)) {
    const auto rest = text.substr(kOci.size());
    const auto colon = rest.find(':');
    reference.layout = rest.substr(0, colon);
    if (reference.layout.empty()) {
      return fail(EINVAL, "\"", text, "\" names no directory: write oci:DIR or oci:DIR:TAG");
    }
    if (colon != std::string_view::npos) reference.names.emplace_back(rest.substr(colon + 1));
    if (colon != std::string_view::npos && reference.names.front().empty()) {
      return fail(EINVAL, "\"", text, "\" has an empty tag: write oci:DIR or oci:DIR:TAG");
    }
    return reference;
  }
  for (const OtherNotation& other : kOtherNotations) {
    if (text.starts_with(other.prefix)) {
      return fail(ENOTSUP, "\"", text, "\": the notation ", other.prefix, " is not supported yet; ",
                  other.instead, ", and name oci:DIR:TAG");
    }
  }
  if (text.find('@') != std::string_view::npos) {
    return fail(ENOTSUP, "\"", text, "\": images by digest are not supported yet; name a tag");
  }
  if (!is_name(text)) {
    return fail(EINVAL, "\"", text, "\" is no image: write oci:DIR[:TAG], or a name such as debian:12");
  }
  reference.layout = dirs.store();
  reference.in_store = true;
  reference.names = names_for(text);
  return reference;
}

}  // namespace layerboot::store
