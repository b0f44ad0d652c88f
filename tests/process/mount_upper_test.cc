// What an upper directory keeps from one mount to the next: over images that change, on hosts that can do
// little, at places that are deep.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <fstream>
#include <set>

#include "oci-mount/base/str_cat.h"
#include "oci-mount/base/unique_fd.h"
#include "tests/process/mount_support.h"
#include "tests/support/image_builder.h"
#include "tests/support/tar_builder.h"
#include "tests/support/temp_dir.h"

namespace layerboot::test {
namespace {

namespace fs = std::filesystem;

class MountUpperTest : public testing::Test {
 protected:
  void SetUp() override {
    if (const std::string why = why_no_fuse(); !why.empty()) GTEST_SKIP() << why;
    fs::create_directories(mnt());
    fs::create_directories(source());
  }
  void build_image(const std::string& tar) const {
    ImageBuilder builder(dir_ / "image");
    builder.add_gzip_layer(tar);
    builder.write();
  }
  std::string image() const { return "oci:" + (dir_ / "image").string(); }
  fs::path mnt() const { return dir_ / "mnt"; }
  fs::path mnt(const std::string& path) const { return mnt() / path; }
  fs::path source() const { return dir_ / "source"; }
  fs::path source(const std::string& path) const { return source() / path; }
  fs::path upper() const { return dir_ / "vm"; }
  fs::path cache() const { return dir_ / "cache"; }
  /// One session: mounts, does, and ends in order.
  template <typename Work>
  void session(std::vector<std::string> arguments, Work work) {
    arguments.insert(arguments.end(), {"--upper", upper().string()});
    Mounted mounted(arguments, cache(), mnt());
    ASSERT_TRUE(is_mountpoint(mnt())) << mounted.messages();
    work();
    EXPECT_EQ(mounted.stop(SIGTERM), 0);
  }
  static int mode_of(const fs::path& path) {
    struct stat st{};
    return ::lstat(path.c_str(), &st) == 0 ? static_cast<int>(st.st_mode & 07777U) : -errno;
  }

  static ino_t ino_of(const fs::path& path) {
    struct stat st{};
    return ::lstat(path.c_str(), &st) == 0 ? st.st_ino : 0;
  }
  /// Sorted, a space between.
  static std::string names_in(const fs::path& directory) {
    std::set<std::string> names;
    for (const auto& entry : fs::directory_iterator(directory)) names.insert(entry.path().filename());
    std::string text;
    for (const auto& name : names) text += (text.empty() ? "" : " ") + name;
    return text;
  }

  TempDir dir_;
};

TEST_F(MountUpperTest, TheTopIsTheImages) {
  TarMember top;
  top.type = '5';
  top.name = "./";
  top.mode = 01711;
  top.mtime = 1'600'000'000;
  top.pax = {{"SCHILY.xattr.user.rootattr", "yes"}};
  build_image(TarBuilder().add(top).file("a", "x").finish());
  const mode_t before = ::umask(077);
  session({image()}, [&] {
    EXPECT_EQ(mode_of(mnt()), 01711);
    struct stat st{};
    EXPECT_EQ(::stat(mnt().c_str(), &st), 0);
    EXPECT_EQ(st.st_mtim.tv_sec, 1'600'000'000);
    EXPECT_EQ(::getxattr(mnt().c_str(), "user.rootattr", nullptr, 0), 3);
    EXPECT_EQ(::chmod(mnt().c_str(), 0751), 0);
    write_text(mnt("new"), "x");
  });
  ::umask(before);
  session({image()}, [&] {
    EXPECT_EQ(mode_of(mnt()), 0751);
    EXPECT_EQ(::getxattr(mnt().c_str(), "user.rootattr", nullptr, 0), 3);
  });
}

// The host edits its files between two starts: what the guest changed is as it was, or is new; never NULs,
// and nothing that can't be removed.
TEST_F(MountUpperTest, ADirectoryThatChangesBelow) {
  const std::string one = "hello from the host, version one\n";
  write_text(source("script.sh"), one);
  for (const char* name : {"other", "third", "linked"})
    write_text(source(name), std::string(name) + " file\n");
  session({"dir:" + source().string()}, [&] {
    EXPECT_EQ(::chmod(mnt("script.sh").c_str(), 0755), 0);
    fs::rename(mnt("other"), mnt("other.orig"));
    EXPECT_EQ(::chmod(mnt("third").c_str(), 0600), 0);
    fs::create_hard_link(mnt("linked"), mnt("linked2"));
    EXPECT_EQ(read_text(mnt("script.sh")), one);
  });
  write_text(source("script.sh"), one + "and one more line\n");
  write_text(source("other"), "other, edited\n");
  write_text(source("linked"), "");
  fs::remove(source("third"));
  session({"dir:" + source().string()}, [&] {
    EXPECT_EQ(read_text(mnt("script.sh")), one);
    EXPECT_EQ(mode_of(mnt("script.sh")), 0755);
    EXPECT_EQ(read_text(mnt("other.orig")), "other file\n");
    EXPECT_EQ(read_text(mnt("linked2")), "linked file\n");
    EXPECT_EQ(read_text(mnt("third")), "third file\n");
    fs::create_directory(mnt("d"));
    fs::rename(mnt("third"), mnt("d/third"));
    EXPECT_TRUE(fs::remove(mnt("d/third")));
  });
}

/// What the guest has moved away is not what the host puts under the old name later.
TEST_F(MountUpperTest, ANameBelowThatComesBackIsAnotherFile) {
  const std::vector<std::string> image{"dir:" + source().string()};
  write_text(source("conf"), "the first\n");
  session(image, [&] {
    fs::rename(mnt("conf"), mnt("conf~"));
    write_text(mnt("conf"), "the guest's\n");
  });
  fs::remove(source("conf"));
  session(image, [&] { fs::remove(mnt("conf")); });
  write_text(source("conf"), "the host's, and longer than both\n");
  for (int i = 0; i < 2; ++i) {
    session(image, [&] {
      EXPECT_EQ(read_text(mnt("conf")), "the host's, and longer than both\n");
      EXPECT_EQ(read_text(mnt("conf~")), "the first\n");
      EXPECT_NE(ino_of(mnt("conf")), ino_of(mnt("conf~")));
    });
  }
}

TEST_F(MountUpperTest, ANameBelowThatComesBackIsAnotherDirectory) {
  const std::vector<std::string> image{"dir:" + source().string()};
  const std::vector<std::pair<std::string, std::string>> moves{{"d", "e"}, {"p/q", "q2"}};
  for (const auto& [from, to] : moves) {
    fs::create_directories(source(from));
    write_text(source(from + "/below"), "the first\n");
  }
  session(image, [&] {
    for (const auto& [from, to] : moves) {
      fs::rename(mnt(from), mnt(to));
      write_text(mnt(to + "/guest"), "the guest's\n");
      EXPECT_EQ(read_text(mnt(to + "/below")), "the first\n");
    }
  });
  for (const auto& [from, to] : moves) fs::remove_all(source(from));
  session(image, [&] {
    for (const auto& [from, to] : moves) {
      fs::create_directory(mnt(from));
      fs::remove(mnt(from));
    }
  });
  for (const auto& [from, to] : moves) {
    fs::create_directories(source(from));
    write_text(source(from + "/new"), "the host's\n");
  }
  session(image, [&] {
    for (const auto& [from, to] : moves) {
      EXPECT_EQ(names_in(mnt(from)), "new") << from;
      EXPECT_EQ(names_in(mnt(to)), "guest") << to;
      write_text(mnt(from + "/more"), "the guest's, too\n");
      fs::remove_all(mnt(to));
      EXPECT_EQ(names_in(mnt(from)), "more new") << from;
    }
  });
  session(image, [&] {
    for (const auto& [from, to] : moves) {
      EXPECT_EQ(names_in(mnt(from)), "more new") << from;
      EXPECT_FALSE(fs::exists(mnt(to)));
      fs::remove_all(mnt(from));
      EXPECT_FALSE(fs::exists(mnt(from)));
    }
  });
}

/// All names of one file are one file, however they are met.
TEST_F(MountUpperTest, NamesOfAFormerSessionsCopyAreOneFile) {
  const std::vector<std::string> image{"dir:" + source().string()};
  write_text(source("f"), "one\n");
  session(image, [&] {
    std::ofstream(mnt("f"), std::ios::app) << "two\n";
    fs::create_hard_link(mnt("f"), mnt("g"));
  });
  session(image, [&] {
    EXPECT_EQ(ino_of(mnt("f")), ino_of(mnt("g")));
    std::ofstream(mnt("g"), std::ios::app) << "three\n";
    EXPECT_EQ(read_text(mnt("f")), "one\ntwo\nthree\n");
    EXPECT_TRUE(fs::remove(mnt("g")));
    EXPECT_EQ(read_text(mnt("f")), "one\ntwo\nthree\n");
  });
}

TEST_F(MountUpperTest, ADirectoryBelowThatComesBackIntoOneOfTheGuests) {
  const std::vector<std::string> image{"dir:" + source().string()};
  fs::create_directories(source("a/sub"));
  session(image, [&] { fs::rename(mnt("a"), mnt("b")); });
  fs::remove_all(source("a"));
  session(image, [&] {
    fs::create_directory(mnt("a"));
    write_text(mnt("a/x"), "the guest's\n");
  });
  fs::create_directories(source("a/sub"));
  write_text(source("a/sub/new"), "the host's\n");
  session(image, [&] {
    EXPECT_EQ(names_in(mnt("a")), "sub x");
    EXPECT_EQ(names_in(mnt("b")), "");
    std::ofstream(mnt("a/sub/new"), std::ios::app) << "the guest's, too\n";
  });
  session(image, [&] {
    EXPECT_EQ(read_text(mnt("a/sub/new")), "the host's\nthe guest's, too\n");
    EXPECT_EQ(names_in(mnt("b")), "");
  });
}

/// As hardlink(1), rsync -H and ostree do: the guest's copy of one is not the other's content.
TEST_F(MountUpperTest, TwoFilesBelowThatBecomeOne) {
  for (const auto* const name : {"one", "other"}) write_text(source(name), "the same text\n");
  session({"dir:" + source().string()}, [&] {
    std::ofstream(mnt("one"), std::ios::app) << "the guest's\n";
    EXPECT_EQ(read_text(mnt("other")), "the same text\n");
  });
  fs::remove(source("other"));
  fs::create_hard_link(source("one"), source("other"));
  for (int i = 0; i < 2; ++i) {
    session({"dir:" + source().string()}, [&] {
      EXPECT_EQ(read_text(mnt("one")), "the same text\nthe guest's\n");
      EXPECT_EQ(read_text(mnt("other")), "the same text\n");
    });
    EXPECT_FALSE(fs::exists(upper() / "upper" / "other"));
  }
}

// As the VM's own layer, which the launcher writes at every start, and its kernel's modules.
TEST_F(MountUpperTest, AnAddedLayerThatIsAnotherOne) {
  build_image(TarBuilder().directory("etc").file("etc/image", "the image's").finish());
  const auto added = [&](const std::string& name, const std::string& hosts) {
    write_text(dir_ / name,
               TarBuilder().directory("etc").file("etc/hosts", hosts).file("etc/moved", hosts).finish());
    return std::vector<std::string>{image(), "--add-layer", (dir_ / name).string()};
  };
  session(added("one.tar", "127.0.1.1 old-name\n"), [&] {
    fs::rename(mnt("etc/hosts"), mnt("etc/hosts.orig"));
    EXPECT_EQ(::chmod(mnt("etc/moved").c_str(), 0600), 0);
    EXPECT_EQ(::chmod(mnt("etc/image").c_str(), 0600), 0);
  });
  session(added("two.tar", "127.0.1.1 a-new-name\n"), [&] {
    EXPECT_EQ(read_text(mnt("etc/hosts.orig")), "127.0.1.1 old-name\n");
    EXPECT_EQ(read_text(mnt("etc/moved")), "127.0.1.1 old-name\n");
    EXPECT_EQ(read_text(mnt("etc/image")), "the image's");
    EXPECT_EQ(mode_of(mnt("etc/image")), 0600);
  });
}

/// Works along a path that no system call takes at once.
class DeepPlace {
 public:
  explicit DeepPlace(const fs::path& top) : at_(::open(top.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC)) {}
  void enter(const std::string& name) {
    at_ = UniqueFd(::openat(at_.get(), name.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    ASSERT_TRUE(at_) << name;
  }
  [[nodiscard]] int fd() const { return at_.get(); }
  [[nodiscard]] std::string read(const std::string& name) const {
    const UniqueFd file(::openat(at_.get(), name.c_str(), O_RDONLY | O_CLOEXEC));
    std::string text(100, '\0');
    const ssize_t got = ::read(file.get(), text.data(), text.size());
    return got < 0 ? str_cat("error ", errno) : text.substr(0, static_cast<std::size_t>(got));
  }

 private:
  UniqueFd at_;
};

// With attributes of its own beside the marks, on a host that has a block for all of them (ext4).
TEST_F(MountUpperTest, PathsUpToTheLongestThereIs) {
  constexpr int kDepth = 16;
  const std::string name(250, 'd');
  TarBuilder tar;
  std::string path;
  for (int i = 0; i < kDepth; ++i) {
    path += (i == 0 ? "" : "/") + name;
    tar.directory(path);
  }
  for (const char* file : {"changed", "moved", "appended"}) {
    TarMember member;
    member.name = path + "/" + file;
    member.content = "of the image";
    member.pax = {{"SCHILY.xattr.user.comment", std::string(1000, 'c')}};
    tar.add(member);
  }
  tar.directory(path + "/dir").file(path + "/dir/inside", "inside");
  build_image(tar.finish());
  const auto deepest = [&] {
    DeepPlace deep(mnt());
    for (int i = 0; i < kDepth; ++i) deep.enter(name);
    return deep;
  };
  struct stat before{};
  session({image()}, [&] {
    const DeepPlace deep = deepest();
    EXPECT_EQ(::fchmodat(deep.fd(), "changed", 0600, 0), 0);
    EXPECT_EQ(::renameat(deep.fd(), "moved", deep.fd(), "moved2"), 0) << errno;
    EXPECT_EQ(::renameat(deep.fd(), "dir", deep.fd(), "dir2"), 0) << errno;
    const UniqueFd file(::openat(deep.fd(), "appended", O_WRONLY | O_APPEND | O_CLOEXEC));
    EXPECT_EQ(::write(file.get(), " and more", 9), 9);
    EXPECT_EQ(::fstatat(deep.fd(), "moved2", &before, 0), 0);
  });
  session({image()}, [&] {
    DeepPlace deep = deepest();
    EXPECT_EQ(deep.read("changed"), "of the image");
    EXPECT_EQ(deep.read("moved2"), "of the image");
    EXPECT_EQ(deep.read("appended"), "of the image and more");
    struct stat after{};
    EXPECT_EQ(::fstatat(deep.fd(), "moved2", &after, 0), 0);
    EXPECT_EQ(after.st_ino, before.st_ino);
    deep.enter("dir2");
    EXPECT_EQ(deep.read("inside"), "inside");
  });
}

// What FUSE can do is less than a disk's file system: here, a mount of our own.
TEST_F(MountUpperTest, AMountOfOurOwnHoldsIndexesAndUppers) {
  build_image(TarBuilder().directory("etc").file("etc/hostname", "image\n").finish());
  fs::create_directories(source());
  session({image()}, [&] {
    const Outcome cat = run_program(
        {LAYERBOOT_OCI_MOUNT, "-q", "--index-dir", mnt("index").string(), "cat", image(), "etc/hostname"},
        cache());
    EXPECT_EQ(cat.out, "image\n") << cat.err;
    Mounted nested({image(), "--upper", mnt("nested").string()}, cache(), source());
    ASSERT_TRUE(is_mountpoint(source())) << nested.messages();
    std::ofstream(source("etc/hostname"), std::ios::app) << "more";
    EXPECT_EQ(read_text(source("etc/hostname")), "image\nmore");
    fs::remove(source("etc/hostname"));
    EXPECT_TRUE(fs::is_empty(source("etc")));
    EXPECT_EQ(nested.stop(SIGTERM), 0);
  });
}

TEST_F(MountUpperTest, AnOrderlyEndIsKnownAtTheNextStart) {
  build_image(TarBuilder().file("a", "x").finish());
  session({image()}, [&] {
    write_text(mnt("new"), "x");
    EXPECT_FALSE(fs::exists(upper() / "clean"));
  });
  EXPECT_TRUE(fs::exists(upper() / "clean"));
  Mounted mounted({image(), "--upper", upper().string()}, cache(), mnt());
  ASSERT_TRUE(is_mountpoint(mnt())) << mounted.messages();
  EXPECT_FALSE(fs::exists(upper() / "clean"));
  write_text(mnt("newer"), "x");
  mounted.stop(SIGKILL);
  EXPECT_FALSE(fs::exists(upper() / "clean"));
}

}  // namespace
}  // namespace layerboot::test
