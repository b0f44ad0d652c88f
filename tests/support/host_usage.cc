#include "tests/support/host_usage.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include <set>
#include <string>

#include "oci-mount/base/unique_fd.h"
#include "oci-mount/overlay/file_rules.h"
#include "oci-mount/overlay/recorded_stat.h"

namespace layerboot::test {

namespace fs = std::filesystem;

overlay::Tariff tariff_of_host(const fs::path& directory) {
  const UniqueFd fd(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  return overlay::tariff_of(fd.get());
}

namespace {

/// `follow`: what the path leads to, and not the link that it is itself.
std::uint64_t charge_of_attributes(const overlay::Tariff& tariff, const fs::path& path, bool follow) {
  if (!tariff.counts_attributes()) return 0;
  std::string names(65536, '\0');
  const ssize_t length = (follow ? ::listxattr : ::llistxattr)(path.c_str(), names.data(), names.size());
  std::uint64_t bytes = 0;
  for (std::size_t at = 0; length > 0 && at < static_cast<std::size_t>(length);) {
    const std::string name(names.c_str() + at);
    at += name.size() + 1;
    if (name == overlay::kRecordedStatXattr) {
      bytes += overlay::charge_of_record(tariff);
      continue;
    }
    const ssize_t size = (follow ? ::getxattr : ::lgetxattr)(path.c_str(), name.c_str(), nullptr, 0);
    if (size >= 0) bytes += tariff.attribute(name, static_cast<std::size_t>(size));
  }
  return bytes;
}

class Count {
 public:
  explicit Count(const fs::path& top) : top_(top), tariff_(tariff_of_host(top)) {}

  HostUsage all() {
    struct stat root{};
    if (::stat((top_ / "upper").c_str(), &root) == 0)
      usage_.bytes += tariff_.root(root) + charge_of_attributes(tariff_, top_ / "upper", true);
    named("upper", tariff_.whiteout());
    named("work", 0);
    without_a_name();
    usage_.bytes = overlay::block_end(usage_.bytes);
    return usage_;
  }

 private:
  void named(const char* part, std::uint64_t whiteout_bytes) {
    for (const auto& entry : fs::recursive_directory_iterator(top_ / part)) {
      struct stat st{};
      if (::lstat(entry.path().c_str(), &st) != 0) continue;
      if (S_ISCHR(st.st_mode) && st.st_rdev == 0) {
        usage_.bytes += whiteout_bytes;
      } else {
        add(st, entry.path(), false);
      }
    }
  }

  void without_a_name() {
    struct stat top{};
    if (::stat(top_.c_str(), &top) != 0) return;
    for (const auto& entry : fs::directory_iterator("/proc/self/fd")) {
      struct stat st{};
      if (::stat(entry.path().c_str(), &st) != 0 || st.st_nlink != 0 || st.st_dev != top.st_dev) continue;
      if (S_ISREG(st.st_mode) || S_ISDIR(st.st_mode)) add(st, entry.path(), true);
    }
  }

  void add(const struct stat& st, const fs::path& path, bool follow) {
    if (!seen_.insert(st.st_ino).second) return;
    usage_.bytes += tariff_.object(st) + charge_of_attributes(tariff_, path, follow);
    usage_.inodes += 1;
  }

  fs::path top_;
  overlay::Tariff tariff_;
  std::set<ino_t> seen_;
  HostUsage usage_;
};

}  // namespace

HostUsage host_usage(const fs::path& upper_directory) { return Count(upper_directory).all(); }

}  // namespace layerboot::test
