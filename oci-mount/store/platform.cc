#include "oci-mount/store/platform.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>

#include "oci-mount/base/ascii.h"
#include "oci-mount/base/decimal.h"
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

/// Of variants that are levels, each of which has all that those below it have: "v8.2" is 802. An empty one
/// is the level that `architecture` has anyway. None where variants are no levels.
std::optional<unsigned> level_of(std::string_view architecture, std::string_view variant) {
  constexpr unsigned kMinors = 100;
  if (architecture != "amd64" && architecture != "arm" && architecture != "arm64") return std::nullopt;
  if (variant.empty()) return kMinors * (architecture == "amd64" ? 1U : architecture == "arm" ? 7U : 8U);
  if (!variant.starts_with('v')) return std::nullopt;
  const auto dot = variant.find('.');
  const auto major = parse_whole<std::uint8_t>(variant.substr(1, dot == variant.npos ? dot : dot - 1));
  const auto minor =
      dot == variant.npos ? std::uint8_t{0} : parse_whole<std::uint8_t>(variant.substr(dot + 1));
  if (!major || !minor || *minor >= kMinors) return std::nullopt;
  return *major * kMinors + *minor;
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
  const auto level = level_of(architecture, platform.variant);
  const auto wanted_level = level_of(architecture, wanted.variant);
  if (!level || !wanted_level) return Fit::kNot;
  if (*level <= *wanted_level) return Fit::kYes;
  if (architecture == "arm64") return platform.variant.starts_with("v8") ? Fit::kYes : Fit::kNot;
  const bool nobody_asked = architecture == "amd64" && wanted.variant.empty();
  return nobody_asked && has_amd64_variant(platform.variant) ? Fit::kYes : Fit::kNot;
}

unsigned distance_of(const Platform& platform, const Platform& wanted) {
  constexpr unsigned kHigher = 1U << 16U;
  const std::string& architecture = wanted.architecture;
  const std::string_view exact =
      architecture == "arm" && wanted.variant.empty() ? std::string_view("v7") : wanted.variant;
  if (platform.variant == exact) return 0;
  const auto level = level_of(architecture, platform.variant);
  const auto wanted_level = level_of(architecture, exact);
  if (!level || !wanted_level) return kHigher;
  return 1 + (*level <= *wanted_level ? *wanted_level - *level : kHigher + *level - *wanted_level);
}

const Platform& platform_of_image(const std::optional<Platform>& said, const Platform& has) {
  const auto agree = [](const std::string& a, const std::string& b) { return b.empty() || a == b; };
  if (!said || said->os.empty() || said->architecture.empty()) return has;
  return agree(said->os, has.os) && agree(said->architecture, has.architecture) ? has : *said;
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
