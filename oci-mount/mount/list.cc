#include "oci-mount/mount/list.h"

#include <sys/stat.h>

#include <array>
#include <ctime>
#include <vector>

#include "oci-mount/base/device_number.h"
#include "oci-mount/base/mode_bits.h"
#include "oci-mount/base/printable.h"
#include "oci-mount/mount/resolve.h"

namespace layerboot::mount {

namespace {

char type_letter(std::uint32_t mode) {
  switch (mode & kTypeBits) {
    case S_IFDIR:
      return 'd';
    case S_IFLNK:
      return 'l';
    case S_IFCHR:
      return 'c';
    case S_IFBLK:
      return 'b';
    case S_IFIFO:
      return 'p';
    case S_IFSOCK:
      return 's';
    default:
      return '-';
  }
}

std::string time_text(std::int64_t seconds) {
  const time_t time = seconds;
  struct tm parts{};
  std::array<char, 40> text{};
  if (::gmtime_r(&time, &parts) == nullptr) return str_cat(seconds);
  return {text.data(), std::strftime(text.data(), text.size(), "%Y-%m-%d %H:%M:%S", &parts)};
}

std::string padded(const std::string& text, std::size_t width) {
  return text.size() < width ? std::string(width - text.size(), ' ') + text : text;
}

std::string details(const tree::NodeRecord& node) {
  const bool device = S_ISCHR(node.mode) || S_ISBLK(node.mode);
  const std::string size =
      device ? str_cat(major_of(node.rdev), ", ", minor_of(node.rdev)) : str_cat(node.size_bytes);
  return str_cat(mode_text(node.mode), " ", padded(str_cat(node.nlink), 3), " ", padded(str_cat(node.uid), 5),
                 " ", padded(str_cat(node.gid), 5), " ", padded(size, 10), " ", time_text(node.mtime_sec),
                 " ");
}

std::string line(const tree::Tree& tree, tree::NodeId id, std::string_view name, const ListOptions& options) {
  const auto shown = [&](std::string_view text) {
    return options.escape ? printable_whole(text) : std::string(text);
  };
  if (!options.details) return str_cat(shown(name), "\n");
  const tree::NodeRecord& node = tree.node(id);
  std::string text = details(node) + shown(name);
  if (S_ISLNK(node.mode)) text += str_cat(" -> ", shown(tree.symlink_target(id)));
  return text + "\n";
}

// Depth first without recursion: a tree may be a thousand directories deep.
Result<void> list_below(const tree::Tree& tree, tree::NodeId directory, const ListOptions& options,
                        const TakeLine& take) {
  struct Level {
    tree::NodeId directory;
    std::size_t next;
    std::size_t prefix_length;
  };
  std::string prefix;
  std::vector<Level> levels{{directory, 0, 0}};
  while (!levels.empty()) {
    const auto entries = tree.entries(levels.back().directory);
    prefix.resize(levels.back().prefix_length);
    if (levels.back().next == entries.size()) {
      levels.pop_back();
      continue;
    }
    const tree::DirentRecord& entry = entries[levels.back().next++];
    prefix += tree.name(entry);
    LB_TRY(take(line(tree, entry.node, prefix, options)));
    if (!options.recursive || !S_ISDIR(tree.node(entry.node).mode)) continue;
    prefix += '/';
    levels.push_back({entry.node, 0, prefix.size()});
  }
  return {};
}

}  // namespace

std::string mode_text(std::uint32_t mode) {
  std::string text(1, type_letter(mode));
  for (int shift = 6; shift >= 0; shift -= 3) {
    const std::uint32_t bits = (mode >> shift) & 7;
    const bool special = (mode & (shift == 6 ? S_ISUID : shift == 3 ? S_ISGID : S_ISVTX)) != 0;
    const char set = shift == 0 ? 't' : 's';
    text += (bits & 4) ? 'r' : '-';
    text += (bits & 2) ? 'w' : '-';
    if (special) {
      text += (bits & 1) ? set : static_cast<char>(set - 'a' + 'A');
    } else {
      text += (bits & 1) ? 'x' : '-';
    }
  }
  return text;
}

Result<void> list(const tree::Tree& tree, std::string_view path, const ListOptions& options,
                  const TakeLine& take) {
  const auto last = options.details ? LastSymlink::kKeep : LastSymlink::kFollow;
  auto found = resolve(tree, path, last);
  // What ls(1) does with a symlink that leads nowhere.
  if (!found && last == LastSymlink::kFollow) found = resolve(tree, path, LastSymlink::kKeep);
  if (!found) return std::unexpected(found.error());
  if (S_ISDIR(tree.node(*found).mode)) return list_below(tree, *found, options, take);
  return take(line(tree, *found, path, options));
}

}  // namespace layerboot::mount
