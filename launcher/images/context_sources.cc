#include "launcher/images/context_sources.h"

#include <fcntl.h>
#include <fnmatch.h>
#include <linux/openat2.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "oci-mount/base/files.h"
#include "oci-mount/base/printable.h"
#include "oci-mount/base/str_cat.h"

namespace layerboot::launcher {

namespace {

namespace fs = std::filesystem;

std::string shown(const fs::path& path) { return printable(path.string()); }

bool is_pattern(const std::string& source) { return source.find_first_of("*?[\\") != std::string::npos; }

/// What `path` in an image's root directory leads to, as a program in it would find it.
Result<fs::path> resolved_in_root(const fs::path& root, const fs::path& path) {
  LB_ASSIGN(const UniqueFd top, open_path(root, O_PATH | O_DIRECTORY));
  const fs::path relative = path.lexically_relative(root);
  const auto found = open_resolving(top.get(), relative.c_str(), O_PATH, RESOLVE_IN_ROOT);
  if (!found) return fail(found.error().code, shown(path));
  std::error_code error;
  fs::path real = fs::read_symlink(descriptor_path(found->get()), error);
  if (error) return fail(error.value(), shown(path));
  return real;
}

/// Where the names of a directory on the way are to be looked for; nothing where it leads nowhere.
std::optional<fs::path> place_of(const BuildContext& context, const fs::path& directory) {
  if (!context.is_root) return directory;
  auto real = resolved_in_root(context.directory, directory);
  return real ? std::optional(*std::move(real)) : std::nullopt;
}

/// All of the context that fits a source, by the components of its path.
std::vector<fs::path> matches_of(const BuildContext& context, const std::string& source) {
  std::vector<fs::path> found = {context.directory};
  for (const fs::path& part : fs::path(str_cat('/', source)).lexically_normal().relative_path()) {
    if (part.empty()) continue;
    const std::string pattern = part.string();
    std::vector<fs::path> next;
    for (const fs::path& written : found) {
      const auto directory = place_of(context, written);
      if (!directory) continue;
      std::error_code error;
      if (!is_pattern(pattern)) {
        if (fs::exists(fs::symlink_status(*directory / part, error))) next.push_back(*directory / part);
        continue;
      }
      for (const std::string& name : names_in(*directory, error)) {
        if (::fnmatch(pattern.c_str(), name.c_str(), 0) == 0) next.push_back(*directory / name);
      }
    }
    found = std::move(next);
  }
  return found;
}

bool leads_out(const std::string& source) {
  return std::ranges::any_of(fs::path(source), [](const fs::path& part) { return part == ".."; });
}

Result<fs::path> real_path(const BuildContext& context, const fs::path& path) {
  if (context.is_root) return resolved_in_root(context.directory, path);
  std::error_code error;
  fs::path real = fs::canonical(path, error);
  if (error) return fail(error.value(), shown(path));
  return real;
}

/// What a source leads to, at the end of its symlinks, and within the context.
Result<ContextSource> resolved(const BuildContext& context, const fs::path& path) {
  std::error_code error;
  const fs::path root = fs::canonical(context.directory, error);
  if (error) return fail(error.value(), shown(context.directory));
  LB_ASSIGN(fs::path real, real_path(context, path));
  const auto [rest, inside] = std::ranges::mismatch(root, real);
  if (rest != root.end())
    return fail(EINVAL, shown(path), " leads out of ", context.called, ", to ", shown(real));
  fs::path relative;
  for (auto part = inside; part != real.end(); ++part) relative /= *part;
  return ContextSource{
      .name = path.filename().string(), .real = std::move(real), .relative = std::move(relative)};
}

}  // namespace

std::vector<std::string> names_in(const fs::path& directory, std::error_code& error) {
  std::vector<std::string> names;
  for (fs::directory_iterator entry(directory, error), end; !error && entry != end; entry.increment(error))
    names.push_back(entry->path().filename().string());
  std::ranges::sort(names);
  return names;
}

Result<std::vector<ContextSource>> sources_in(const BuildContext& context,
                                              const std::vector<std::string>& wanted) {
  std::vector<ContextSource> sources;
  std::optional<Error> missing;  // the first that nothing fits
  const ContextIgnore& ignore = context.ignore;
  for (const std::string& source : wanted) {
    if (leads_out(source)) return fail(EINVAL, printable(source), " leads out of ", context.called);
    const auto found = matches_of(context, source);
    const std::size_t before = sources.size();
    for (const fs::path& path : found) {
      LB_ASSIGN(ContextSource one, resolved(context, path));
      const bool is_out =
          ignore.leaves_out(path.lexically_relative(context.directory)) || ignore.leaves_out(one.relative);
      // Of a directory that is left out, something in it may be taken back in.
      std::error_code error;
      if (is_out && !(ignore.takes_back() && fs::is_directory(one.real, error))) continue;
      sources.push_back(std::move(one));
    }
    if (sources.size() > before) continue;
    Error none{ENOENT,
               str_cat("no ", printable(source), " in ", context.called,
                       found.empty() ? "" : str_cat(": ", shown(context.ignore_file), " leaves it out"))};
    if (!is_pattern(source)) return std::unexpected(std::move(none));
    if (!missing) missing = std::move(none);
  }
  // A pattern may fit nothing where another source is there.
  if (sources.empty() && missing) return std::unexpected(*std::move(missing));
  return sources;
}

}  // namespace layerboot::launcher
