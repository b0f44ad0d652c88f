#include "oci-mount/store/platform.h"

#include <algorithm>
#include <array>

#include "oci-mount/base/ascii.h"
#include "oci-mount/base/str_cat.h"

namespace layerboot::store {

namespace {

struct Alias {
  std::string_view name;
  std::string_view architecture;
  std::string_view variant;
};
constexpr std::array kAliases{
    Alias{"x86_64", "amd64", ""},
    Alias{"x86-64", "amd64", ""},
    Alias{"aarch64", "arm64", ""},
    Alias{"i386", "386", ""},
    Alias{"i486", "386", ""},
    Alias{"i586", "386", ""},
    Alias{"i686", "386", ""},
    Alias{"x86", "386", ""},
    Alias{"armhf", "arm", "v7"},
    Alias{"armv7l", "arm", "v7"},
    Alias{"armel", "arm", "v6"},
    Alias{"armv6l", "arm", "v6"},
    Alias{"powerpc64le", "ppc64le", ""},
};

/// Of the levels of x86-64's psABI.
bool has_amd64_variant([[maybe_unused]] std::string_view variant) {
#if defined(__x86_64__)
  if (variant == "v2") return __builtin_cpu_supports("x86-64-v2") != 0;
  if (variant == "v3") return __builtin_cpu_supports("x86-64-v3") != 0;
  if (variant == "v4") return __builtin_cpu_supports("x86-64-v4") != 0;
#endif
  return false;
}

}  // namespace

Platform normalized(Platform platform) {
  platform = {ascii_lower(std::move(platform.os)), ascii_lower(std::move(platform.architecture)),
              ascii_lower(std::move(platform.variant))};
  for (const Alias& alias : kAliases) {
    if (platform.architecture != alias.name) continue;
    platform.architecture = alias.architecture;
    if (platform.variant.empty()) platform.variant = alias.variant;
    break;
  }
  // Go's arm is v7 and more where nothing is said, and some write the number alone.
  if (platform.variant.size() == 1 && platform.variant[0] >= '1' && platform.variant[0] <= '9')
    platform.variant.insert(0, "v");
  const bool given_anyway = (platform.architecture == "amd64" && platform.variant == "v1") ||
                            (platform.architecture == "arm64" && platform.variant == "v8");
  if (given_anyway) platform.variant.clear();
  return platform;
}

std::string platform_text(const Platform& platform) {
  return str_cat(platform.os.empty() ? "?" : platform.os, "/",
                 platform.architecture.empty() ? "?" : platform.architecture,
                 platform.variant.empty() ? "" : "/", platform.variant);
}

Result<Platform> parse_platform(std::string_view text) {
  Platform platform;
  const auto first = text.find('/');
  const auto second = first == std::string_view::npos ? first : text.find('/', first + 1);
  platform.os = text.substr(0, first);
  if (first != std::string_view::npos)
    platform.architecture =
        text.substr(first + 1, second == std::string_view::npos ? second : second - first - 1);
  if (second != std::string_view::npos) platform.variant = text.substr(second + 1);
  const bool plain = std::ranges::all_of(text, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '/' || c == '_' || c == '.';
  });
  if (plain && !platform.os.empty() && !platform.architecture.empty() &&
      platform.variant.find('/') == std::string::npos)
    return normalized(std::move(platform));
  return fail(EINVAL, "\"", text, "\" is no platform: write linux/amd64, linux/arm64, linux/arm/v7");
}

Fit fit_of(const Platform& platform, const Platform& wanted) {
  const std::string& architecture = wanted.architecture;
  if (!platform.os.empty() && platform.os != wanted.os) return Fit::kNot;
  if (platform.architecture == "386" && architecture == "amd64") return Fit::kCompatible;
  if (!platform.architecture.empty() && platform.architecture != architecture) return Fit::kNot;
  if (platform.variant.empty() || platform.variant == wanted.variant) return Fit::kYes;
  if (architecture == "arm" && platform.variant.size() == 2)
    return wanted.variant.empty() || platform.variant <= wanted.variant ? Fit::kYes : Fit::kNot;
  if (architecture == "arm64") return platform.variant.starts_with("v8") ? Fit::kYes : Fit::kNot;
  return architecture == "amd64" && has_amd64_variant(platform.variant) ? Fit::kYes : Fit::kNot;
}

std::string_view host_architecture() {
#if defined(__x86_64__)
  return "amd64";
#elif defined(__aarch64__)
  return "arm64";
#else
#error "name this architecture as OCI does"
#endif
}

Platform host_platform() { return {"linux", std::string(host_architecture()), {}}; }

}  // namespace layerboot::store
