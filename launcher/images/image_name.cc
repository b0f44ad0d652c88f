#include "launcher/images/image_name.h"

#include <algorithm>

#include "oci-mount/store/digest.h"

namespace layerboot::launcher {

namespace {

constexpr std::size_t kMaxRepositoryBytes = 255;
constexpr std::size_t kMaxTagBytes = 128;
constexpr std::string_view kHub = "docker.io";
constexpr std::string_view kOfficial = "library/";

bool is_lower_or_digit(char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); }
bool is_alphanumeric(char c) { return is_lower_or_digit(c) || (c >= 'A' && c <= 'Z'); }

/// Between letters and digits stand ".", "_", "__", or any number of "-".
bool is_separator(std::string_view text) {
  return text == "." || text == "_" || text == "__" ||
         std::ranges::all_of(text, [](char c) { return c == '-'; });
}

bool is_path_component(std::string_view text) {
  if (text.empty() || !is_lower_or_digit(text.front()) || !is_lower_or_digit(text.back())) return false;
  while (!text.empty()) {
    const auto separator = std::ranges::find_if_not(text, is_lower_or_digit);
    const auto next = std::find_if(separator, text.end(), is_lower_or_digit);
    if (!is_separator(std::string_view(separator, next))) return false;
    text = std::string_view(next, text.end());
  }
  return true;
}

bool is_port(std::string_view text) {
  return !text.empty() && std::ranges::all_of(text, [](char c) { return c >= '0' && c <= '9'; });
}

/// "registry.example", "localhost:5000", "[::1]:5000".
bool is_registry(std::string_view text) {
  if (text.starts_with('[')) {
    const auto end = text.find(']');
    if (end == std::string_view::npos) return false;
    const auto inner = text.substr(1, end - 1);
    const auto rest = text.substr(end + 1);
    return !inner.empty() && inner.find_first_not_of("0123456789abcdefABCDEF:") == std::string_view::npos &&
           (rest.empty() || (rest.front() == ':' && is_port(rest.substr(1))));
  }
  const auto colon = text.find(':');
  if (colon != std::string_view::npos && !is_port(text.substr(colon + 1))) return false;
  const auto host = text.substr(0, colon);
  return !host.empty() && is_alphanumeric(host.front()) && is_alphanumeric(host.back()) &&
         host.find("..") == std::string_view::npos &&
         std::ranges::all_of(host, [](char c) { return is_alphanumeric(c) || c == '.' || c == '-'; });
}

bool is_tag(std::string_view text) {
  return !text.empty() && text.size() <= kMaxTagBytes &&
         (is_alphanumeric(text.front()) || text.front() == '_') && std::ranges::all_of(text, [](char c) {
           return is_alphanumeric(c) || c == '_' || c == '.' || c == '-';
         });
}

bool is_path(std::string_view path) {
  while (true) {
    const auto slash = path.find('/');
    if (!is_path_component(path.substr(0, slash))) return false;
    if (slash == std::string_view::npos) return true;
    path.remove_prefix(slash + 1);
  }
}

/// What could be wrong with a repository, said of the likeliest.
std::string_view what_is_wrong(std::string_view repository) {
  const bool upper = std::ranges::any_of(repository, [](char c) { return c >= 'A' && c <= 'Z'; });
  return upper ? ": names in registries are of small letters"
               : ": write a name such as debian:12 or localhost:5000/app";
}

/// Docker's rule: the first part is a registry when it could be no user of Docker Hub.
std::string complete(std::string_view repository) {
  const auto slash = repository.find('/');
  if (slash == std::string_view::npos) return str_cat(kHub, "/", kOfficial, repository);
  const auto first = repository.substr(0, slash);
  const auto rest = repository.substr(slash + 1);
  if (first.find_first_of(".:") == std::string_view::npos && first != "localhost")
    return str_cat(kHub, "/", repository);
  const bool is_hub = first == kHub || first == "index.docker.io";
  if (!is_hub) return std::string(repository);
  return str_cat(kHub, "/", rest.find('/') == std::string_view::npos ? kOfficial : "", rest);
}

}  // namespace

std::string ImageName::text() const {
  return digest.empty() ? str_cat(repository, ":", tag) : str_cat(repository, "@", digest);
}

std::string ImageName::registry() const { return repository.substr(0, repository.find('/')); }

Result<ImageName> parse_image_name(std::string_view text) {
  constexpr std::string_view kTransport = "docker://";
  const std::string_view typed = text;
  if (text.starts_with(kTransport)) text.remove_prefix(kTransport.size());
  ImageName name;
  const SplitName split = split_name(text);
  const bool has_digest = text.find('@') != std::string_view::npos;
  if (has_digest) {
    const auto digest = store::Digest::parse(split.digest);
    if (!digest) {
      return fail(
          EINVAL, "\"", typed,
          "\" is no image of a registry: behind the @ belongs a digest, sha256: and 64 digits of 0-9a-f");
    }
    name.digest = digest->text();
  }
  name.repository = complete(split.repository);
  const auto slash = name.repository.find('/');
  const auto registry = std::string_view(name.repository).substr(0, slash);
  if (name.repository.size() > kMaxRepositoryBytes || !is_registry(registry) ||
      !is_path(std::string_view(name.repository).substr(slash + 1))) {
    return fail(EINVAL, "\"", typed, "\" is no image of a registry", what_is_wrong(split.repository));
  }
  const std::string_view tag = split.tag.empty() ? "latest" : split.tag;
  const bool ends_in_colon = split.tag.empty() && text.substr(0, text.find('@')).ends_with(':');
  if (!is_tag(tag) || ends_in_colon) {
    return fail(EINVAL, "\"", typed,
                "\" is no image of a registry: a tag has letters, digits, '_', '.' and '-', at most ",
                kMaxTagBytes);
  }
  if (!has_digest) name.tag = tag;
  return name;
}

Result<std::string> name_to_give(std::string_view text) {
  LB_ASSIGN(const ImageName given, parse_image_name(text));
  if (given.digest.empty()) return given.text();
  return fail(EINVAL, "\"", text, "\": a digest can't be given to an image, only a name and a tag");
}

std::string_view familiar_name(std::string_view name) {
  constexpr std::string_view kHubPrefix = "docker.io/";
  if (!name.starts_with(kHubPrefix)) return name;
  name.remove_prefix(kHubPrefix.size());
  if (name.starts_with(kOfficial)) name.remove_prefix(kOfficial.size());
  return name;
}

SplitName split_name(std::string_view name) {
  SplitName split;
  if (const auto at = name.find('@'); at != std::string_view::npos) {
    split.digest = name.substr(at + 1);
    name = name.substr(0, at);
  }
  const auto slash = name.rfind('/');
  const auto colon = name.find(':', slash == std::string_view::npos ? 0 : slash);
  split.repository = name.substr(0, colon);
  if (colon != std::string_view::npos) split.tag = name.substr(colon + 1);
  return split;
}

}  // namespace layerboot::launcher
