// What a .dockerignore or .containerignore leaves out of a build's context.
//
// Follows docs.docker.com/build/concepts/context (".dockerignore files") and the matcher behind it,
// github.com/moby/patternmatcher: a line is a pattern of path.Match with "**" for any number of
// directories; one that fits a directory fits all below it; "!" takes back in; the last that fits decides.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "oci-mount/base/result.h"

namespace layerboot::launcher {

class ContextIgnore {
 public:
  /// Leaves nothing out.
  ContextIgnore() = default;

  /// EINVAL, with its line, for a "!" alone and for more than kMaxRules.
  static Result<ContextIgnore> parse(std::string_view text);

  /// Of `path`, relative to the context, without "." and ".."; the context itself is never left out.
  [[nodiscard]] bool leaves_out(const std::filesystem::path& path) const;

  /// Whether something may be in the context whose directory is left out.
  [[nodiscard]] bool takes_back() const { return takes_back_; }

  static constexpr std::size_t kMaxRules = 10'000;

 private:
  struct Rule {
    std::vector<std::string> parts;  // "**", or a pattern of one name
    bool takes_back = false;
  };
  static bool fits(const Rule& rule, const std::vector<std::string>& names);

  std::vector<Rule> rules_;
  bool takes_back_ = false;
};

/// A directory that a build copies from.
struct BuildContext {
  std::filesystem::path directory;
  ContextIgnore ignore = {};
  std::filesystem::path ignore_file = {};  // that says so; "": there is none
  std::string called = "the context";      // in messages
  /// Of an image: symlinks in it lead to what is in it. `directory` is canonical then.
  bool is_root = false;
};

/// The context in `directory`, for a recipe in `file`: what FILE.containerignore, FILE.dockerignore,
/// .containerignore or .dockerignore says, whichever comes first. ENOTDIR; EINVAL of a rule.
Result<BuildContext> open_build_context(const std::filesystem::path& directory,
                                        const std::filesystem::path& file);

}  // namespace layerboot::launcher
