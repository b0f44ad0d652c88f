// The default image through `oci-mount mount` is what `umoci unpack` makes of it, to the last attribute and
// byte.
#include <dirent.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <map>

#include "oci-mount/base/str_cat.h"
#include "tests/process/mount_support.h"
#include "tests/support/image_builder.h"
#include "tests/support/temp_dir.h"

namespace layerboot::test {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMaxShown = 20;

// One line a path, of all that has to be the same.
using Listing = std::map<std::string, std::string>;

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

void expect_same(const Listing& mounted, const Listing& unpacked) {
  std::size_t differences = 0;
  const auto differ = [&](const std::string& name, const std::string& here, const std::string& there) {
    if (++differences <= kMaxShown)
      ADD_FAILURE() << name << "\n  mounted:  " << here << "\n  unpacked: " << there;
  };
  for (const auto& [name, line] : mounted) {
    const auto other = unpacked.find(name);
    if (other == unpacked.end()) {
      differ(name, line, "nothing");
    } else if (other->second != line) {
      differ(name, line, other->second);
    }
  }
  for (const auto& [name, line] : unpacked) {
    if (!mounted.contains(name)) differ(name, "nothing", line);
  }
  EXPECT_EQ(differences, 0U);
}

TEST(MountDifferential, TheDefaultImageIsAsUmociUnpacksIt) {
  if (const std::string why = why_no_fuse(); !why.empty()) GTEST_SKIP() << why;
  if (::geteuid() != 0) GTEST_SKIP() << "only root can unpack owners and devices to compare with";
  const char* const layout = std::getenv("LAYERBOOT_TEST_IMAGE");
  ASSERT_TRUE(layout != nullptr && fs::exists(fs::path(layout) / "index.json"))
      << "the default image is missing: run `./dev test`, which builds it, or set LAYERBOOT_TEST_IMAGE to an "
         "OCI layout";
  const TempDir dir;
  const Outcome unpacked =
      run_program({"umoci", "unpack", "--image", std::string(layout) + ":latest", (dir / "bundle").string()},
                  dir / "cache");
  ASSERT_EQ(unpacked.exit_code, 0) << unpacked.err << "\n(umoci is in the Debian package of that name)";
  fs::create_directories(dir / "mnt");
  const Mounted mounted({str_cat("oci:", layout)}, dir / "cache", dir / "mnt");
  ASSERT_TRUE(is_mountpoint(dir / "mnt")) << mounted.messages();

  const Listing ours = list_tree(dir / "mnt");
  EXPECT_GT(ours.size(), 1000U);
  expect_same(ours, list_tree(dir / "bundle/rootfs"));
  std::printf("%zu files and directories are the same\n", ours.size());
}

}  // namespace
}  // namespace layerboot::test
