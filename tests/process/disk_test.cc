// layerboot disk: whatever is in the image is on the disk, whoever makes it.
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <tuple>

#include "oci-mount/base/str_cat.h"
#include "tests/process/mount_listing.h"
#include "tests/process/mount_support.h"
#include "tests/support/image_builder.h"
#include "tests/support/tar_builder.h"
#include "tests/support/temp_dir.h"

namespace layerboot::test {
namespace {

namespace fs = std::filesystem;

// cap_net_raw+ep of revision 2, as capabilities(7) keeps it.
constexpr std::string_view kNetRaw{
    "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00", 20};

/// A file system in a file, mounted by way of a loop device.
class LoopMount {
 public:
  LoopMount(const fs::path& disk, fs::path where, const fs::path& cache)
      : where_(std::move(where)), cache_(cache) {
    fs::create_directories(where_);
    outcome_ = run_program({"mount", "-o", "loop,ro", disk.string(), where_.string()}, cache_);
  }
  ~LoopMount() {
    if (mounted()) run_program({"umount", where_.string()}, cache_);
  }
  LoopMount(const LoopMount&) = delete;
  LoopMount& operator=(const LoopMount&) = delete;
  [[nodiscard]] bool mounted() const { return outcome_.exit_code == 0; }
  [[nodiscard]] const std::string& why_not() const { return outcome_.err; }

 private:
  fs::path where_;
  fs::path cache_;
  Outcome outcome_;
};

class DiskTest : public testing::Test {
 protected:
  void SetUp() override {
    if (const std::string why = why_no_fuse(); !why.empty()) GTEST_SKIP() << why;
    TarBuilder lower;
    TarMember root = special("./", '5', 0, 0);
    root.mode = 01711;
    root.uid = 70'000;
    root.pax = {{"SCHILY.xattr.user.place", std::string("root\0\n", 6)}};
    lower.add(root)
        .directory("etc")
        .file("etc/shadow", "secret\n", 0600)
        .file("etc/gone", "x")
        .symlink("conf", "/etc");
    lower.directory("private", 0700).file("private/key", "k", 0400).directory("sticky", 01777);
    lower.add(special("null", '3', 1, 3)).add(special("disk", '4', 8, 300)).add(special("pipe", '6', 0, 0));
    TarMember odd = special("bin", '0', 0, 0);
    odd.content = "x";
    odd.mode = 06755;
    odd.uid = 3'000'000;
    odd.pax = {{"SCHILY.xattr.user.colour", std::string("blue\n=\0green", 12)},
               {"SCHILY.xattr.security.capability", std::string(kNetRaw)}};
    lower.add(odd).file(std::string(150, 'n'), "long").file("\xc3\xa4\xff", "odd").file("empty", "");
    TarBuilder upper;
    upper.file("etc/hostname", "upper\n").whiteout("etc/gone").file("big", sample_bytes(3'000'000, 1));
    upper.hard_link("z-big", "big").hard_link("etc/big", "big");
    ImageBuilder image(dir_ / "image");
    image.add_gzip_layer(lower.finish()).add_plain_layer(upper.finish());
    image.write();
  }
  static TarMember special(std::string name, char type, std::uint64_t device_major,
                           std::uint64_t device_minor) {
    TarMember member;
    member.name = std::move(name);
    member.type = type;
    member.gid = 7;
    member.device_major = device_major;
    member.device_minor = device_minor;
    return member;
  }
  [[nodiscard]] std::string image() const { return "oci:" + (dir_ / "image").string(); }
  [[nodiscard]] fs::path cache() const { return dir_ / "cache"; }
  /// The words of `layerboot disk`, with state of its own.
  [[nodiscard]] std::vector<std::string> disk_words(const fs::path& out,
                                                    std::vector<std::string> more) const {
    std::vector<std::string> words = {"env",
                                      "XDG_DATA_HOME=" + (dir_ / "data").string(),
                                      "XDG_CACHE_HOME=" + cache().string(),
                                      LAYERBOOT_LAUNCHER,
                                      "disk",
                                      "--oci-mount",
                                      LAYERBOOT_OCI_MOUNT,
                                      image(),
                                      out.string()};
    words.insert(words.end(), more.begin(), more.end());
    return words;
  }
  Outcome disk(const fs::path& out, std::vector<std::string> more) const {
    return run_program(disk_words(out, std::move(more)), cache());
  }
  Listing image_listing() const {
    fs::create_directories(dir_ / "tree");
    const Mounted mounted({image()}, cache(), dir_ / "tree");
    return list_tree(dir_ / "tree");
  }
  /// The disk's file system is sound, and holds what the image holds.
  void expect_disk_is_image(const fs::path& raw) const {
    const Outcome checked = run_program({"e2fsck", "-fn", raw.string()}, cache());
    EXPECT_EQ(checked.exit_code, 0) << checked.out << checked.err;
    const LoopMount loop(raw, dir_ / "loop", cache());
    ASSERT_TRUE(loop.mounted()) << loop.why_not();
    Listing on_disk = list_tree(dir_ / "loop");
    EXPECT_EQ(on_disk.erase("/lost+found"), 1U);
    expect_same(image_listing(), "the image", on_disk, "the disk");
  }
  TempDir dir_;
};

TEST_F(DiskTest, OfAnotherMachinesImageByItsPlatform) {
  ImageBuilder image(dir_ / "arm");
  image.architecture = "arm64";
  image.add_plain_layer(TarBuilder().file("name", "arm").finish()).write();
  const auto words = [this](std::vector<std::string> more) {
    std::vector<std::string> all = disk_words(dir_ / "arm.raw", std::move(more));
    std::ranges::replace(all, this->image(), "oci:" + (dir_ / "arm").string());
    return all;
  };
  const Outcome refused = run_program(words({"--size", "200M"}), cache());
  EXPECT_EQ(refused.exit_code, 1);
  EXPECT_NE(refused.err.find("--platform linux/arm64"), std::string::npos) << refused.err;
  const Outcome made = run_program(words({"--size", "200M", "--platform", "linux/arm64"}), cache());
  ASSERT_EQ(made.exit_code, 0) << made.err;
  const Outcome name = run_program({"debugfs", "-R", "cat /name", (dir_ / "arm.raw").string()}, cache());
  EXPECT_EQ(name.out, "arm");
}

TEST_F(DiskTest, HoldsTheImageAndIsMadeOnce) {
  if (::geteuid() != 0) GTEST_SKIP() << "reading the disk back needs a loop device, so root";
  const Outcome made = disk(dir_ / "a.raw", {"--size", "200M"});
  ASSERT_EQ(made.exit_code, 0) << made.err;
  expect_disk_is_image(dir_ / "a.raw");
  EXPECT_EQ(fs::file_size(dir_ / "a.raw"), 200U << 20);

  // The second comes from the kept one, of which a converted copy is the same.
  const Outcome again = disk(dir_ / "b.qcow2", {"--size", "200M", "--format", "qcow2"});
  ASSERT_EQ(again.exit_code, 0) << again.err;
  const Outcome same =
      run_program({"qemu-img", "compare", (dir_ / "a.raw").string(), (dir_ / "b.qcow2").string()}, cache());
  EXPECT_EQ(same.exit_code, 0) << same.out << same.err;
  const auto kept = fs::directory_iterator(dir_ / "data/layerboot/disks");
  EXPECT_EQ(std::distance(kept, fs::directory_iterator()), 1);
}

TEST_F(DiskTest, NeedsNoRoot) {
  if (::geteuid() != 0) GTEST_SKIP() << "becoming another user, and reading the disk back, need root";
  for (const char* name : {"data", "cache", "out"}) {
    fs::create_directories(dir_ / name);
    fs::permissions(dir_ / name, fs::perms::all);
  }
  fs::permissions(dir_.path(), fs::perms::all);
  // A /dev/fuse that everyone may open, as on any desktop; in a mount namespace of its own.
  std::string command =
      "mount -t tmpfs none /mnt && mknod -m 666 /mnt/fuse c 10 229 && mount --bind /mnt/fuse /dev/fuse && "
      "exec setpriv --reuid 65534 --regid 65534 --clear-groups";
  for (const std::string& word : disk_words(dir_ / "out/user.raw", {"--size", "200M"}))
    command += " '" + word + "'";
  const Outcome made = run_program({"unshare", "-m", "sh", "-c", command}, cache());
  ASSERT_EQ(made.exit_code, 0) << made.err;
  expect_disk_is_image(dir_ / "out/user.raw");
}

TEST_F(DiskTest, WhatIsHardForADiskIsRightOrRefused) {
  const auto one_layer = [this](const TarBuilder& tar) {
    fs::remove_all(dir_ / "image");
    ImageBuilder image(dir_ / "image");
    image.add_gzip_layer(tar.finish());
    image.write();
  };
  TarBuilder hard;
  TarMember sparse;
  sparse.name = "GNUSparseFile.0/sparse";
  sparse.content = "1\n1099511627775\n1\n" + std::string(512 - 18, '\0') + "x";
  sparse.pax = {{"GNU.sparse.major", "1"},
                {"GNU.sparse.minor", "0"},
                {"GNU.sparse.name", "sparse"},
                {"GNU.sparse.realsize", "1099511627776"}};
  hard.add(sparse);
  for (int i = 0; i < 20'000; ++i) hard.file(str_cat("many/name-", i), "");
  hard.file("many-names", "x");
  for (int i = 0; i < 3'000; ++i) hard.hard_link(str_cat("links/", i), "many-names");
  one_layer(hard);
  const Outcome made = disk(dir_ / "hard.raw", {"--size", "400M"});
  ASSERT_EQ(made.exit_code, 0) << made.err;
  const Outcome checked = run_program({"e2fsck", "-fn", (dir_ / "hard.raw").string()}, cache());
  EXPECT_EQ(checked.exit_code, 0) << checked.out;
  if (const LoopMount loop(dir_ / "hard.raw", dir_ / "loop", cache()); loop.mounted()) {
    EXPECT_EQ(fs::file_size(dir_ / "loop/sparse"), std::uintmax_t{1} << 40U);
    EXPECT_EQ(fs::hard_link_count(dir_ / "loop/many-names"), 3'001U);
    EXPECT_EQ(std::distance(fs::directory_iterator(dir_ / "loop/many"), {}), 20'000);
    EXPECT_TRUE(fs::exists(dir_ / "loop/many/name-19999"));
  }

  TarBuilder links;
  links.file("file", "x");
  for (int i = 0; i < 70'000; ++i) links.hard_link(str_cat("d", i / 1000, "/", i % 1000), "file");
  TarMember big;
  big.name = "attributes";
  big.pax = {{"SCHILY.xattr.user.big", std::string(5000, 'b')}};
  for (const auto& [tar, name, why] :
       {std::tuple(links, "\"file\"", "70001 names"),
        std::tuple(TarBuilder().add(big), "\"attributes\"", "bytes of extended attributes")}) {
    one_layer(tar);
    const Outcome refused = disk(dir_ / "refused.raw", {});
    EXPECT_EQ(refused.exit_code, 1) << name;
    // Of several names of one file, the first that the walk met is told.
    EXPECT_NE(refused.err.find(why), std::string::npos) << refused.err;
    EXPECT_NE(refused.err.find("an ext4 can't hold it"), std::string::npos) << refused.err;
    EXPECT_FALSE(fs::exists(dir_ / "refused.raw"));
  }
}

TEST_F(DiskTest, RefusesAndLeavesNothing) {
  const Outcome small = disk(dir_ / "small.raw", {"--size", "8M"});
  EXPECT_EQ(small.exit_code, 1);
  EXPECT_NE(small.err.find("give a larger --size"), std::string::npos) << small.err;
  EXPECT_FALSE(fs::exists(dir_ / "small.raw"));
  EXPECT_TRUE(fs::is_empty(dir_ / "data/layerboot/disks"));

  write_text(dir_ / "there.raw", "mine");
  const Outcome there = disk(dir_ / "there.raw", {"--size", "200M"});
  EXPECT_EQ(there.exit_code, 1);
  EXPECT_NE(there.err.find("is there already"), std::string::npos) << there.err;
  EXPECT_EQ(read_text(dir_ / "there.raw"), "mine");
  EXPECT_EQ(disk(dir_ / "x.raw", {"--fs", "xfs"}).exit_code, 2);
}

}  // namespace
}  // namespace layerboot::test
