// What an ARG, or an ENV, of a Containerfile may be called and come to: what was given by --build-arg, what
// is known before FROM, and the platform arguments that docker gives values to. Pure, but for the
// environment.
#pragma once

#include <array>
#include <cstddef>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "launcher/images/containerfile.h"
#include "launcher/images/containerfile_words.h"
#include "oci-mount/base/result.h"
#include "oci-mount/store/platform.h"

namespace layerboot::launcher {

/// Values by their names: of --build-arg, and of all others.
using BuildArguments = std::map<std::string, std::string, std::less<>>;

/// Docker's, which need no ARG, and are in no image.
inline constexpr std::array<std::string_view, 8> kKnownArguments = {
    "HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy",
    "FTP_PROXY",  "ftp_proxy",  "NO_PROXY",    "no_proxy"};

/// "NAME=VALUE" each, or NAME alone for what the environment has. EINVAL names the one that is wrong.
Result<BuildArguments> parse_build_arguments(const std::vector<std::string>& texts);

[[nodiscard]] bool is_argument_name(std::string_view text);

/// Of all that one Containerfile sets, names and values.
inline constexpr std::size_t kMaxVariablesBytes = std::size_t{1} << 20;
/// `bytes` is of all values that one counts together; EINVAL past kMaxVariablesBytes.
Result<void> set_variable(BuildArguments& values, std::size_t& bytes, const std::string& name,
                          const std::string& value);

/// What docker has for TARGETPLATFORM, TARGETOS, TARGETARCH and TARGETVARIANT; nothing for other names.
std::optional<std::string> value_of_target(std::string_view name, const store::Platform& platform);
/// The same for BUILDPLATFORM and its like: of this machine.
std::optional<std::string> value_of_builder(std::string_view name);

/// What is known before FROM, and in it. `arguments` outlives it.
class GlobalScope {
 public:
  /// `target` is what TARGETARCH and its like are of, where that is known before FROM.
  explicit GlobalScope(const BuildArguments& arguments, std::optional<store::Platform> target = {})
      : arguments_(arguments), target_(std::move(target)) {}

  /// All before FROM. EINVAL and ENOTSUP name the line.
  Result<void> take(const std::vector<Instruction>& instructions);
  Result<std::vector<std::string>> words(std::string_view text);
  [[nodiscard]] const BuildArguments& values() const { return values_; }

 private:
  Result<void> declare(std::string_view text);
  Variables lookup();
  [[nodiscard]] Result<void> check_known() const;

  const BuildArguments& arguments_;
  std::optional<store::Platform> target_;
  BuildArguments values_;
  std::size_t bytes_ = 0;
  std::string unknown_;  // that was asked for
};

}  // namespace layerboot::launcher
