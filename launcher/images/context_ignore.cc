#include "launcher/images/context_ignore.h"

#include <fnmatch.h>

#include <algorithm>
#include <array>
#include <system_error>
#include <utility>

#include "oci-mount/base/ascii.h"
#include "oci-mount/base/files.h"
#include "oci-mount/base/printable.h"
#include "oci-mount/base/str_cat.h"

namespace layerboot::launcher {

namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMaxIgnoreBytes = std::size_t{1} << 20;
constexpr std::string_view kAnyDirectories = "**";

/// Components, without what "." and ".." undo. "**.o" is "*.o" in any directory, "a**/b" "b" in any below
/// "a*".
std::vector<std::string> parts_of(std::string_view pattern) {
  std::vector<std::string> parts;
  for (const fs::path& part : fs::path(str_cat('/', pattern)).lexically_normal().relative_path()) {
    std::string text = part.string();
    if (text.empty()) continue;
    const bool is_any = text == kAnyDirectories;
    const bool begins = text.starts_with(kAnyDirectories) && !is_any;
    const bool ends = text.ends_with(kAnyDirectories) && !is_any;
    if (begins) {
      parts.emplace_back(kAnyDirectories);
      text.erase(0, 1);
    }
    if (ends) text.pop_back();
    parts.push_back(std::move(text));
    if (ends) parts.emplace_back(kAnyDirectories);
  }
  // What fits a directory fits all in it.
  if (parts.size() > 1 && pattern.ends_with(kAnyDirectories) && !pattern.ends_with("/**")) parts.pop_back();
  return parts;
}

}  // namespace

Result<ContextIgnore> ContextIgnore::parse(std::string_view text) {
  ContextIgnore ignore;
  std::size_t number = 0;
  if (text.starts_with("\xef\xbb\xbf")) text.remove_prefix(3);
  while (!text.empty()) {
    const auto end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    ++number;
    if (line.starts_with('#')) continue;
    line = trim_blanks(line);
    if (line.empty()) continue;
    Rule rule;
    rule.takes_back = line.starts_with('!');
    if (rule.takes_back) line = trim_blanks(line.substr(1));
    if (line.empty()) return fail(EINVAL, "line ", number, ": a ! needs a pattern behind it");
    rule.parts = parts_of(line);
    if (rule.parts.empty()) continue;
    if (ignore.rules_.size() == kMaxRules)
      return fail(EINVAL, "line ", number, ": more than ", kMaxRules, " patterns");
    ignore.takes_back_ = ignore.takes_back_ || rule.takes_back;
    ignore.rules_.push_back(std::move(rule));
  }
  return ignore;
}

bool ContextIgnore::fits(const Rule& rule, const std::vector<std::string>& names) {
  // Whether the parts so far fit the first n names, for each n: no pattern takes more steps than parts ×
  // names.
  std::vector<bool> fitting(names.size() + 1, false);
  fitting[0] = true;
  for (std::size_t i = 0; i < rule.parts.size(); ++i) {
    const std::string& part = rule.parts[i];
    const bool is_any = part == kAnyDirectories;
    // "a/**" is all in a directory, not the directory.
    const std::size_t least = is_any && i + 1 == rule.parts.size() ? 1 : 0;
    std::vector<bool> next(names.size() + 1, false);
    if (is_any && least == 0) next[0] = fitting[0];
    for (std::size_t n = 1; n <= names.size(); ++n) {
      next[n] = is_any ? next[n - 1] || fitting[n - least]
                       : fitting[n - 1] && ::fnmatch(part.c_str(), names[n - 1].c_str(), 0) == 0;
    }
    fitting = std::move(next);
  }
  // It, or a directory that it is in.
  for (std::size_t n = 1; n <= names.size(); ++n) {
    if (fitting[n]) return true;
  }
  return false;
}

bool ContextIgnore::leaves_out(const fs::path& path) const {
  if (rules_.empty()) return false;
  std::vector<std::string> names;
  for (const fs::path& part : path) {
    if (!part.empty() && part != ".") names.push_back(part.string());
  }
  bool is_out = false;
  for (const Rule& rule : rules_) {
    if (rule.takes_back == is_out && fits(rule, names)) is_out = !is_out;
  }
  return is_out;
}

Result<BuildContext> open_build_context(const fs::path& directory, const fs::path& file) {
  std::error_code error;
  if (!fs::is_directory(directory, error))
    return fail(ENOTDIR, printable(directory.string()), " is no directory to build from");
  BuildContext context{.directory = directory, .ignore = {}, .ignore_file = {}};
  const std::array<fs::path, 4> tried = {file.string() + ".containerignore", file.string() + ".dockerignore",
                                         directory / ".containerignore", directory / ".dockerignore"};
  for (const fs::path& path : tried) {
    const auto text = read_file(path, kMaxIgnoreBytes);
    if (!text && text.error().code == ENOENT) continue;
    if (!text) return std::unexpected(text.error());
    auto ignore = ContextIgnore::parse(*text);
    if (!ignore) return while_doing(ignore.error(), printable(path.string()));
    context.ignore = *std::move(ignore);
    context.ignore_file = path;
    break;
  }
  return context;
}

}  // namespace layerboot::launcher
