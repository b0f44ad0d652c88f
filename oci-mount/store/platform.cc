#include "oci-mount/store/platform.h"

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

Fit fit_of(const Platform& platform, std::string_view architecture) {
  if (!platform.os.empty() && platform.os != "linux") return Fit::kNot;
  if (platform.architecture == "386" && architecture == "amd64") return Fit::kCompatible;
  if (!platform.architecture.empty() && platform.architecture != architecture) return Fit::kNot;
  if (platform.variant.empty()) return Fit::kYes;
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

}  // namespace layerboot::store
