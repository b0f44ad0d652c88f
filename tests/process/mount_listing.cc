#include "tests/process/mount_listing.h"

#include <algorithm>

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#include "oci-mount/base/str_cat.h"
#include "tests/support/image_builder.h"

namespace layerboot::test {

namespace fs = std::filesystem;

namespace {

constexpr std::size_t kMaxShown = 20;

std::string xattrs_text(const fs::path& path) {
  std::string names(64 * 1024, '\0');
  const ssize_t length = ::llistxattr(path.c_str(), names.data(), names.size());
  if (length < 0) return str_cat("unreadable ", errno);
  std::map<std::string, std::string> sorted;
  for (const char* name = names.data(); name < names.data() + length;
       name += std::string_view(name).size() + 1) {
    std::string value(64 * 1024, '\0');
    const ssize_t size = ::lgetxattr(path.c_str(), name, value.data(), value.size());
    value.resize(size < 0 ? 0 : static_cast<std::size_t>(size));
    sorted[name] = value;
  }
  std::string text;
  for (const auto& [name, value] : sorted) text += str_cat(" ", name, "=", sha256_text(value));
  return text;
}

std::string describe(const fs::path& path, const struct stat& st) {
  std::string text = str_cat("mode ", st.st_mode, " owner ", st.st_uid, ":", st.st_gid, " mtime ",
                             st.st_mtim.tv_sec, ".", st.st_mtim.tv_nsec, " xattrs", xattrs_text(path));
  // A directory's size and link count are its file system's own affair.
  if (S_ISDIR(st.st_mode)) return text;
  text += str_cat(" size ", st.st_size, " names ", st.st_nlink);
  if (S_ISLNK(st.st_mode)) text += str_cat(" to ", fs::read_symlink(path).string());
  if (S_ISCHR(st.st_mode) || S_ISBLK(st.st_mode)) {
    text += str_cat(" device ", major(st.st_rdev), ":", minor(st.st_rdev));
  }
  if (S_ISREG(st.st_mode)) text += str_cat(" bytes ", sha256_text(read_text(path)));
  return text;
}

}  // namespace

Listing list_tree(const fs::path& root) {
  Listing listing;
  std::map<ino_t, std::string> first_name;  // of what has several
  const auto add = [&](const fs::path& path) {
    struct stat st{};
    if (::lstat(path.c_str(), &st) != 0) return;
    const std::string name = "/" + path.lexically_relative(root).string();
    std::string& line = listing[name] = describe(path, st);
    if (!S_ISDIR(st.st_mode) && st.st_nlink > 1) {
      // The smallest of the names, whatever the order in which they are met.
      std::string& first = first_name.try_emplace(st.st_ino, name).first->second;
      first = std::min(first, name);
      line += str_cat(" same as inode ", st.st_ino);
    }
  };
  add(root);
  for (const auto& entry : fs::recursive_directory_iterator(root)) add(entry.path());
  for (auto& [name, line] : listing) {
    const auto at = line.find(" same as inode ");
    if (at == std::string::npos) continue;
    const ino_t inode = std::stoull(line.substr(at + std::string_view(" same as inode ").size()));
    line = line.substr(0, at) + " same as " + first_name[inode];
  }
  return listing;
}

void expect_same(const Listing& one, std::string_view one_name, const Listing& other,
                 std::string_view other_name) {
  std::size_t differences = 0;
  const auto differ = [&](const std::string& name, const std::string& here, const std::string& there) {
    if (++differences > kMaxShown) return;
    ADD_FAILURE() << name << "\n  " << one_name << ": " << here << "\n  " << other_name << ": " << there;
  };
  for (const auto& [name, line] : one) {
    const auto found = other.find(name);
    if (found == other.end() || found->second != line)
      differ(name, line, found == other.end() ? "nothing" : found->second);
  }
  for (const auto& [name, line] : other) {
    if (!one.contains(name)) differ(name, "nothing", line);
  }
  EXPECT_EQ(differences, 0U);
}

}  // namespace layerboot::test
