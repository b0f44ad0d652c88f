// The kernel's overlayfs as oracle: the same random operations through both must give the same errnos and the
// same tree; and the upper directory that we leave must mean the same to the kernel.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/fs.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <random>
#include <regex>

#include "tests/oci-mount/vfs/image_fixture.h"
#include "tests/support/acl_text.h"

namespace layerboot::test {
namespace {

/// The kernel finds other names of the image's file by its index, which is bound to one mount: so an upper
/// that it has written tells no other reader of them.
enum class HardLinks { kNone, kSome };

std::string lower_tar(HardLinks hard_links) {
  TarBuilder tar;
  tar.directory("a")
      .directory("a/b")
      .file("a/b/f1", "lower f1")
      .file("a/b/f2", sample_bytes(300'000, 7), 0600)
      .file("a/f1", "second lower f1")
      .symlink("a/f3", "b/f1")
      .directory("b")
      .file("b/f1", "in b")
      .directory("c")
      .directory("c/a")
      .directory("c/a/b")
      .file("c/a/b/f2", "deep")
      .directory("empty")
      .file("f1", "top")
      .file("hard", "three names", 0644);
  if (hard_links == HardLinks::kSome) tar.hard_link("a/hard", "hard").hard_link("c/a/hard", "hard");
  return tar.finish();
}

/// The oracle: kernel overlayfs over the same lower content, driven through paths.
class KernelOverlay {
 public:
  KernelOverlay(const TempDir& directory, const std::string& lower, const std::string& name,
                const std::string& upper = {}, const std::string& work = {})
      : mount_point_((directory / (name + "-mnt")).string()) {
    const std::string up = upper.empty() ? (directory / (name + "-up")).string() : upper;
    const std::string wk = work.empty() ? (directory / (name + "-wk")).string() : work;
    for (const auto& path : {mount_point_, up, wk}) std::filesystem::create_directories(path);
    const std::string options =
        "lowerdir=" + lower + ",upperdir=" + up + ",workdir=" + wk +
        ",redirect_dir=on,metacopy=on,xino=off,index=" + (upper.empty() ? "on" : "off");
    mounted_ = ::mount("overlay", mount_point_.c_str(), "overlay", 0, options.c_str()) == 0;
  }
  ~KernelOverlay() {
    if (mounted_) ::umount2(mount_point_.c_str(), MNT_DETACH);
  }
  KernelOverlay(const KernelOverlay&) = delete;
  KernelOverlay& operator=(const KernelOverlay&) = delete;

  [[nodiscard]] bool mounted() const { return mounted_; }
  [[nodiscard]] std::string at(const std::string& path) const { return mount_point_ + path; }
  [[nodiscard]] Snapshot snapshot() const { return snapshot_of_directory(mount_point_); }

 private:
  std::string mount_point_;
  bool mounted_ = false;
};

int code(int status) { return status == 0 ? 0 : errno; }

int host_create(const std::string& path, const std::string& content) {
  const UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0644));
  if (!fd) return errno;
  return ::write(fd.get(), content.data(), content.size()) == static_cast<ssize_t>(content.size()) ? 0
                                                                                                   : errno;
}

int host_write(const std::string& path, std::uint64_t offset, const std::string& bytes) {
  const UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CLOEXEC | O_NOFOLLOW));
  if (!fd) return errno;
  return ::pwrite(fd.get(), bytes.data(), bytes.size(), static_cast<off_t>(offset)) >= 0 ? 0 : errno;
}

bool is_regular(const std::string& path) {
  struct stat st{};
  return ::lstat(path.c_str(), &st) == 0 && S_ISREG(st.st_mode);
}

class Operations {
 public:
  /// `ours` may come to hold another driver meanwhile.
  Operations(const std::unique_ptr<FsDriver>& ours, const KernelOverlay& kernel, std::uint64_t seed)
      : ours_(ours), kernel_(kernel), random_(seed) {}

  /// Does one on both; the description is for the message.
  void step() {
    const std::string path = random_path();
    const std::string other = random_path();
    // Following symlinks is the client's business, and the host's calls would follow them.
    if (goes_through_symlink(path) || goes_through_symlink(other)) return;
    const std::string host = kernel_.at(path);
    int mine = 0;
    int theirs = 0;
    switch (pick(19)) {
      case 0:
      case 1:
        what_ = "create " + path;
        mine = ours_->create(path, path);
        theirs = host_create(host, path);
        break;
      case 2:
        what_ = "write " + path;
        if (!is_regular(host)) return;  // opening has other errnos than writing, and is not ours to see
        mine = ours_->write(path, 3, "WRITTEN");
        theirs = host_write(host, 3, "WRITTEN");
        break;
      case 3:
        what_ = "truncate " + path;
        if (!is_regular(host)) return;
        mine = ours_->truncate(path, 5);
        theirs = code(::truncate(host.c_str(), 5));
        break;
      case 4:
        what_ = "mkdir " + path;
        mine = ours_->mkdir(path);
        theirs = code(::mkdir(host.c_str(), 0755));
        break;
      case 5:
        what_ = "rmdir " + path;
        mine = ours_->rmdir(path);
        theirs = code(::rmdir(host.c_str()));
        break;
      case 6:
      case 7:
        what_ = "unlink " + path;
        mine = ours_->unlink(path);
        theirs = code(::unlink(host.c_str()));
        break;
      case 8:
        what_ = "symlink " + path;
        mine = ours_->symlink(path, "to/" + path.substr(1));
        theirs = code(::symlink(("to/" + path.substr(1)).c_str(), host.c_str()));
        break;
      case 9:
        what_ = "link " + path + " " + other;
        mine = ours_->link(path, other);
        theirs = code(::link(host.c_str(), kernel_.at(other).c_str()));
        break;
      case 10:
      case 11: {
        static constexpr unsigned kFlags[] = {0, 0, 0, RENAME_NOREPLACE, RENAME_EXCHANGE};
        const unsigned flags = kFlags[pick(5)];
        what_ = "rename " + path + " " + other + " flags " + std::to_string(flags);
        mine = ours_->rename(path, other, flags);
        theirs = code(::renameat2(AT_FDCWD, host.c_str(), AT_FDCWD, kernel_.at(other).c_str(), flags));
        break;
      }
      case 12: {
        what_ = "chmod+chown " + path;
        vfs::AttrChange change;
        change.uid = 7;
        change.gid = 8;
        struct stat st{};
        if (::lstat(host.c_str(), &st) != 0) return;
        if (!S_ISLNK(st.st_mode)) change.mode = 0640 | (S_ISDIR(st.st_mode) ? 0111U : 0U);
        mine = ours_->setattr(path, change);
        theirs = code(::lchown(host.c_str(), 7, 8));
        if (theirs == 0 && change.mode) theirs = code(::chmod(host.c_str(), *change.mode));
        break;
      }
      case 13: {
        static constexpr const char* kAttributes[] = {"user.test", "trusted.test", "security.test",
                                                      "trusted.overlayish"};
        const char* name = kAttributes[pick(4)];
        what_ = std::string("setxattr ") + name + " " + path;
        struct stat st{};
        if (::lstat(host.c_str(), &st) != 0 || S_ISLNK(st.st_mode)) return;
        mine = ours_->setxattr(path, name, path);
        theirs = code(::lsetxattr(host.c_str(), name, path.data(), path.size(), 0));
        break;
      }
      case 14: {
        what_ = "removexattr " + path;
        struct stat st{};
        // Of others, the client's kernel refuses it itself.
        if (::lstat(host.c_str(), &st) != 0 || (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode))) return;
        mine = ours_->removexattr(path, "user.test");
        theirs = code(::lremovexattr(host.c_str(), "user.test"));
        break;
      }
      case 15:
        what_ = "mkfifo " + path;
        mine = ours_->mknod(path, S_IFIFO | 0644, 0);
        theirs = code(::mkfifo(host.c_str(), 0644));
        break;
      case 16:
      case 17:
        return set_acl(path, host);
      default:
        return link_nameless(path, host);
    }
    EXPECT_EQ(mine, theirs) << what_;
  }

  [[nodiscard]] const std::string& last() const { return what_; }

 private:
  void set_acl(const std::string& path, const std::string& host) {
    struct stat st{};
    if (::lstat(host.c_str(), &st) != 0 || S_ISLNK(st.st_mode)) return;
    const bool is_default = S_ISDIR(st.st_mode) && pick(2) == 0;
    const char* name = is_default ? "system.posix_acl_default" : "system.posix_acl_access";
    what_ = std::string("setxattr ") + name + " " + path;
    const auto bits = [this] { return static_cast<std::uint16_t>(pick(8)); };
    const std::string acl = pick(4) == 0
                                ? acl_text({{0x01, 7, ~0U}, {0x04, bits(), ~0U}, {0x20, bits(), ~0U}})
                                : acl_with_user(7, bits(), bits());
    const int mine = ours_->setxattr(path, name, acl);
    EXPECT_EQ(mine, code(::lsetxattr(host.c_str(), name, acl.data(), acl.size(), 0))) << what_;
  }

  /// O_TMPFILE in one directory, linked into another place.
  void link_nameless(const std::string& path, const std::string& host) {
    what_ = "O_TMPFILE linked as " + path;
    struct stat st{};
    if (::lstat(std::filesystem::path(host).parent_path().c_str(), &st) != 0 || !S_ISDIR(st.st_mode)) return;
    const UniqueFd fd(::open(kernel_.at("").c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0640));
    if (!fd) return;  // a kernel whose overlayfs has no nameless files
    const int theirs = code(::linkat(AT_FDCWD, ("/proc/self/fd/" + std::to_string(fd.get())).c_str(),
                                     AT_FDCWD, host.c_str(), AT_SYMLINK_FOLLOW));
    EXPECT_EQ(ours_->link_nameless(path, 0640), theirs) << what_;
  }

  std::size_t pick(std::size_t choices) { return random_() % choices; }

  bool goes_through_symlink(const std::string& path) const {
    for (auto slash = path.find('/', 1); slash != std::string::npos; slash = path.find('/', slash + 1)) {
      struct stat st{};
      if (::lstat(kernel_.at(path.substr(0, slash)).c_str(), &st) == 0 && S_ISLNK(st.st_mode)) return true;
    }
    return false;
  }

  std::string random_path() {
    static const std::vector<std::string> kNames = {"a", "b", "c", "f1", "f2", "f3", "empty", "hard"};
    std::string path;
    const std::size_t depth = 1 + pick(4);
    for (std::size_t i = 0; i < depth; ++i) path += "/" + kNames[pick(kNames.size())];
    return path;
  }

  const std::unique_ptr<FsDriver>& ours_;
  const KernelOverlay& kernel_;
  std::mt19937_64 random_;
  std::string what_;
};

std::uint64_t first_seed() {
  const char* text = std::getenv("LAYERBOOT_TEST_SEED");
  return text != nullptr ? std::strtoull(text, nullptr, 10) : 20'000;
}

/// Without its index, which is bound to one mount, the kernel does not know of names that an image's file
/// lost.
Snapshot without_link_counts(Snapshot snapshot) {
  static const std::regex kLinkCount(" nlink=[0-9]+");
  for (auto& [path, line] : snapshot) line = std::regex_replace(line, kLinkCount, "");
  return snapshot;
}

constexpr int kSteps = 120;

/// What the kernel is to see as its lower directory.
std::string unpack(const ImageFixture& image, const std::string& tar) {
  const std::string lower = (image.directory / "lower").string();
  const std::string file = (image.directory / "lower.tar").string();
  std::filesystem::create_directories(lower);
  write_text(file, tar);
  EXPECT_EQ(std::system(("tar -xpf " + file + " -C " + lower).c_str()), 0);
  return lower;
}

/// Random sequences on the kernel's overlayfs and on ours, kept in one way or the other.
void compare_sequences(int sequences, bool recorded) {
  const std::string tar = lower_tar(HardLinks::kSome);
  for (int sequence = 0; sequence < sequences && !::testing::Test::HasFailure(); ++sequence) {
    const std::uint64_t seed = first_seed() + static_cast<std::uint64_t>(sequence);
    SCOPED_TRACE("LAYERBOOT_TEST_SEED=" + std::to_string(seed));
    ImageFixture image({tar});
    image.record_owners = recorded;
    const std::string lower = unpack(image, tar);
    const KernelOverlay kernel(image.directory, lower, "oracle");
    if (!kernel.mounted()) GTEST_SKIP() << "this machine can't mount overlayfs: the oracle is missing";
    image.open_writable();
    Operations operations(image.driver, kernel, seed);
    for (int step = 0; step < kSteps && !::testing::Test::HasFailure(); ++step) {
      operations.step();
      // Now and then as after a restart: all that counts must be on the host.
      if (step % 40 == 39) {
        EXPECT_EQ(image.driver->snapshot(), kernel.snapshot())
            << "after step " << step << ": " << operations.last();
        if (step % 80 == 39) {
          image.fs->reset();
        } else {
          image.open_writable();
        }
      }
    }
    const Snapshot expected = kernel.snapshot();
    EXPECT_EQ(image.driver->snapshot(), expected);
    image.open_writable();
    EXPECT_EQ(image.driver->snapshot(), expected) << "after a restart";
    image.driver.reset();
    image.fs.reset();
    if (recorded) continue;
    const KernelOverlay ours_by_kernel(image.directory, lower, "ours",
                                       (image.directory / "vm/upper").string());
    ASSERT_TRUE(ours_by_kernel.mounted());
    EXPECT_EQ(without_link_counts(ours_by_kernel.snapshot()), without_link_counts(expected))
        << "our upper directory, mounted by the kernel";
  }
}

/// What the kernel has written in a random sequence, served by us as if we had.
void serve_what_the_kernel_left(int sequences) {
  const std::string tar = lower_tar(HardLinks::kNone);
  for (int sequence = 0; sequence < sequences && !::testing::Test::HasFailure(); ++sequence) {
    const std::uint64_t seed = first_seed() + static_cast<std::uint64_t>(sequence);
    SCOPED_TRACE("LAYERBOOT_TEST_SEED=" + std::to_string(seed));
    ImageFixture image({tar});
    const std::string lower = unpack(image, tar);
    image.open_writable();
    Snapshot expected;
    {
      const KernelOverlay kernel(image.directory, lower, "kernel",
                                 (image.directory / "kernel/upper").string(),
                                 (image.directory / "kernel/kernel-work").string());
      if (!kernel.mounted()) GTEST_SKIP() << "this machine can't mount overlayfs: the oracle is missing";
      Operations operations(image.driver, kernel, seed);
      for (int step = 0; step < kSteps && !::testing::Test::HasFailure(); ++step) operations.step();
      expected = kernel.snapshot();
    }
    image.driver.reset();
    image.fs.reset();
    std::filesystem::copy_file(image.directory / "vm/image", image.directory / "kernel/image");
    std::filesystem::rename(image.directory / "vm", image.directory / "vm-ours");
    std::filesystem::rename(image.directory / "kernel", image.directory / "vm");
    image.open_writable();
    EXPECT_EQ(image.driver->snapshot(), expected);
  }
}

/// For long runs by hand.
int sequences_or(int usual) {
  const char* text = std::getenv("LAYERBOOT_TEST_SEQUENCES");
  return text != nullptr ? std::atoi(text) : usual;
}

TEST(OverlayOracleTest, RandomOperationsGiveTheTreeThatTheKernelGives) {
  SKIP_UNLESS_ROOT();
  compare_sequences(sequences_or(60), false);
}

TEST(OverlayOracleTest, SoDoTheyWhereOwnersAreRecorded) {
  SKIP_UNLESS_ROOT();
  compare_sequences(sequences_or(30), true);
}

TEST(OverlayOracleTest, WhatTheKernelHasWrittenMeansTheSameToUs) {
  SKIP_UNLESS_ROOT();
  serve_what_the_kernel_left(sequences_or(30));
}

}  // namespace
}  // namespace layerboot::test
