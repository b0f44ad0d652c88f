#include "tests/oci-mount/vfs/differential.h"

#include <sys/stat.h>

#include <array>
#include <functional>
#include <sstream>

namespace layerboot::test {

namespace {

/// 2024: later than any time that a test's image has or an operation sets.
constexpr std::int64_t kNowSeconds = 1'704'067'200;
constexpr std::size_t kShownBytes = 24;

constexpr std::array kKindNames = {
    "lookup",   "create",       "mknod",     "mkdir", "symlink",         "link",    "unlink", "rmdir",
    "rename",   "tmpfile+link", "read",      "write", "truncate",        "chmod",   "chown",  "utimes",
    "setxattr", "removexattr",  "fallocate", "seek",  "copy_file_range", "readdir", "hold"};
static_assert(kKindNames.size() == static_cast<std::size_t>(Kind::kHold) + 1);

std::string shown(const Spot& spot) {
  if (spot.slot != Spot::kNone) return "held " + std::to_string(spot.slot);
  std::string path = spot.path.empty() ? "/" : spot.path;
  if (path.size() > 80) path = path.substr(0, 70) + "…(" + std::to_string(path.size()) + ")";
  return path;
}

std::string shown(const std::string& bytes) {
  if (bytes.size() <= kShownBytes) return bytes;
  return "#" + std::to_string(std::hash<std::string>{}(bytes));
}

std::string shown(const vfs::Time& time) {
  if (time.sec >= kNowSeconds) return "now";
  return std::to_string(time.sec) + "." + std::to_string(time.nsec);
}

std::string shown(const std::optional<vfs::TimeChange>& change) {
  if (!change) return "-";
  return change->now ? "now" : shown(change->time);
}

}  // namespace

std::string Operation::describe() const {
  std::ostringstream text;
  text << kKindNames[static_cast<std::size_t>(kind)] << " " << shown(object);
  if (kind == Kind::kLink || kind == Kind::kRename || kind == Kind::kTmpfileLink || kind == Kind::kCopyRange)
    text << " to " << shown(other);
  text << " by " << actor.uid << ":" << actor.gid;
  if (actor.also_in) text << "+" << *actor.also_in;
  text << std::oct << " umask " << actor.umask << " mode " << mode << std::dec << " flags " << flags << " at "
       << offset << "/" << to_offset << "+" << length;
  if (!is_exclusive) text << " not exclusive";
  if (kind == Kind::kMknod) text << " rdev " << rdev;
  if (kind == Kind::kChown) text << " owner " << static_cast<int>(uid) << ":" << static_cast<int>(gid);
  if (kind == Kind::kUtimes) text << " times " << shown(atime) << " " << shown(mtime);
  if (!name.empty()) text << " name " << name;
  if (!data.empty()) text << " data of " << data.size();
  return text.str();
}

std::string View::line() const {
  std::ostringstream text;
  text << std::oct << mode << std::dec << " " << uid << ":" << gid;
  // A directory's size and link count are the host's business.
  if (!S_ISDIR(mode)) text << " nlink=" << nlink << " size=" << size_bytes;
  if (S_ISCHR(mode) || S_ISBLK(mode)) text << " rdev=" << rdev;
  text << " atime=" << shown(atime) << " mtime=" << shown(mtime);
  if (S_ISREG(mode) || S_ISLNK(mode)) text << " content=" << shown(content);
  for (const auto& [key, value] : xattrs) {
    text << " " << key << "=" << std::hex;
    for (const char c : value) text << static_cast<unsigned>(static_cast<unsigned char>(c)) << ".";
    text << std::dec;
  }
  return text.str();
}

}  // namespace layerboot::test
