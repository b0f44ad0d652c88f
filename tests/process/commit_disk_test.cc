// layerboot commit of a VM that has kept by itself what it wrote (--upper disk): the kernel's overlayfs on an
// ext4, made here as guest-init makes it in the VM.
#include <sys/stat.h>
#include <unistd.h>

#include "tests/process/commit_fixture.h"

namespace layerboot::test {
namespace {

constexpr const char* kGuest = R"guest(
cd "$1"
mkdir disk root
mount -o loop upper.raw disk
mkdir disk/upper disk/work disk/plain 'disk/plain/var%-lib%-docker' 'disk/plain/srv%-a%%b'
mount -t overlay overlay -o "lowerdir=$2,upperdir=disk/upper,workdir=disk/work,redirect_dir=on,metacopy=on,index=off,xino=off" root
mkdir -p root/var/lib/docker root/srv/a%b
mount --bind 'disk/plain/var%-lib%-docker' root/var/lib/docker
cd root
chmod 600 etc/hosts                                     # a metacopy of what the VM has on top of its image
chmod 600 etc/kept                                      # another
ln etc/kept etc/second                                  # of several names
chmod 640 etc/moved-away; mv etc/moved-away etc/moved   # of another place
mv deep deeper                                          # a redirect beside its place
mv other etc/other                                      # a redirect to a path
rm deeper/er/file2
rm etc/gone
rm -r opaque; mkdir opaque; touch opaque/new
mkdir many; for i in $(seq 400); do echo $i > many/a-long-name-to-fill-blocks-of-the-directory-$i; done
head -c 700000 /dev/urandom > etc/new
truncate -s 3000000 etc/sparse; printf end >> etc/sparse
ln -s short etc/link; ln -s "$(printf '%0200d' 7)" etc/long-link
mkfifo etc/pipe; mknod etc/char c 10 1030; mknod etc/block b 8 3
chown 70000:70001 etc/new; chmod 6755 etc/new
touch -d '2100-01-01 00:00:00.123456789' etc/future
touch -d '1950-01-01 00:00:00.5' etc/past
setfattr -n user.mine -v 1 etc/new
setfattr -n user.long -v "$(printf '%01000d' 7)" etc/new
setfattr -n trusted.mine -v 1 opaque
cd var/lib/docker                                       # what an overlayfs in the VM has written
mkdir -p overlay2/x/diff/dir
mknod overlay2/x/diff/gone c 0 0
setfattr -n trusted.overlay.opaque -v y overlay2/x/diff/dir
touch overlay2/x/diff/dir/file
)guest";

class CommitDiskTest : public CommitTest {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "only root can mount a disk and an overlayfs on it";
    if (const std::string why = why_no_fuse(); !why.empty()) GTEST_SKIP() << why;
    ::setenv("XDG_DATA_HOME", (dir_ / "data").c_str(), 1);
    TarBuilder tar;
    tar.directory("etc").directory("deep").directory("deep/er").directory("other").directory("opaque");
    for (const char* name : {"etc/kept", "etc/gone", "etc/moved-away", "deep/er/file", "deep/er/file2",
                             "other/x", "opaque/old", "left"})
      tar.file(name, std::string("of the image: ") + name);
    ImageBuilder image(dir_ / "image");
    image.add_gzip_layer(tar.finish()).write();
    reference_ = "oci:" + image.layout().string() + ":latest";
    make_vm("web");
    // Any uppers' file has the identity.
    fs::create_directories(dir_ / "mnt");
    {
      Mounted mounted({"--upper", (dir_ / "some").string(), reference_}, dir_ / "cache", dir_ / "mnt");
      ASSERT_TRUE(is_mountpoint(dir_ / "mnt")) << mounted.messages();
      EXPECT_EQ(mounted.stop(SIGTERM), 0);
    }
    fs::copy(dir_ / "some/image", vm("web") / "upper.image");
    run({"truncate", "-s", "200M", disk("web")});
    run({"mkfs.ext4", "-q", "-F", "-b", "4096", "-m", "0", "-E", "lazy_itable_init=0,lazy_journal_init=1",
         disk("web")});
    Mounted lower({"--add-layer", vm("web") / "vm-layer.tar", reference_}, dir_ / "cache", dir_ / "mnt");
    ASSERT_TRUE(is_mountpoint(dir_ / "mnt")) << lower.messages();
    const Outcome guest = run_program(
        {"sh", "-euc", kGuest, "guest", vm("web").string(), (dir_ / "mnt").string()}, dir_ / "cache");
    const bool mounted = is_mountpoint(vm("web") / "root");
    if (guest.exit_code == 0) {
      shown_ = list_tree(vm("web") / "root");
      EXPECT_EQ(shown_.erase("/etc/hosts"), 1U) << "which is no part of the image";
      // As a cut leaves it: all is in the journal, and not in its place yet.
      run({"sync"});
      make_vm("cut");
      fs::copy(vm("web") / "upper.image", vm("cut") / "upper.image");
      run({"cp", "--sparse=always", disk("web"), disk("cut")});
    }
    for (const char* where : {"root/var/lib/docker", "root", "disk"})
      run_program({"umount", (vm("web") / where).string()}, dir_ / "cache");
    EXPECT_EQ(lower.stop(SIGTERM), 0);
    fs::remove(vm("web") / "root");
    fs::remove(vm("web") / "disk");
    if (!mounted) GTEST_SKIP() << "no overlayfs on a loop device here: " << guest.err;
    ASSERT_EQ(guest.exit_code, 0) << guest.err;
  }
  std::string disk(const std::string& name) const { return vm(name) / "upper.raw"; }
  void run(const std::vector<std::string>& words) const {
    const Outcome done = run_program(words, dir_ / "cache");
    ASSERT_EQ(done.exit_code, 0) << words.front() << ": " << done.err;
  }
  void expect_image_is_shown(const std::string& image) const {
    Mounted mounted({image}, dir_ / "cache", dir_ / "mnt");
    ASSERT_TRUE(is_mountpoint(dir_ / "mnt")) << mounted.messages();
    expect_same(shown_, "the VM", list_tree(dir_ / "mnt"), image);
    EXPECT_EQ(mounted.stop(SIGTERM), 0);
  }

  Listing shown_;
};

TEST_F(CommitDiskTest, WhatTheVmShowedIsInTheImage) {
  const Outcome made = commit({"web", "app"});
  ASSERT_EQ(made.exit_code, 0) << made.err;
  expect_image_is_shown("app");
  const Outcome squashed = commit({"web", "one", "--squash"});
  ASSERT_EQ(squashed.exit_code, 0) << squashed.err;
  expect_image_is_shown("one");

  const Outcome rebased = commit({"web", "app:2", "--rebase", "--keep-identity"});
  ASSERT_EQ(rebased.exit_code, 0) << rebased.err;
  EXPECT_NE(rebased.err.find("/etc/hosts: only its attributes"), std::string::npos) << rebased.err;
  EXPECT_FALSE(fs::exists(disk("web")));
  EXPECT_FALSE(fs::exists(vm("web") / "upper.image"));
  expect_image_is_shown("app:2");
}

TEST_F(CommitDiskTest, ADiskThatWasCutOffIsReplayed) {
  const Outcome refused = oci_mount({"diff", reference_, disk("cut")});
  EXPECT_EQ(refused.exit_code, 1);
  EXPECT_NE(refused.err.find("e2fsck -p"), std::string::npos) << refused.err;
  const Outcome made = commit({"cut", "app"});
  ASSERT_EQ(made.exit_code, 0) << made.err;
  expect_image_is_shown("app");
}

TEST_F(CommitDiskTest, DiffListsWhatWasChanged) {
  const Outcome listed = oci_mount({"diff", reference_, disk("web")});
  ASSERT_EQ(listed.exit_code, 0) << listed.err;
  for (const char* line : {"D /deep\n", "A /deeper/er/file\n", "C /etc/kept\n", "D /etc/gone\n",
                           "A /etc/moved\n", "D /etc/moved-away\n", "D /opaque/old\n", "A /opaque/new\n",
                           "A /var/lib/docker/overlay2/x/diff/gone\n"})
    EXPECT_NE(listed.out.find(line), std::string::npos) << line << " is not in\n" << listed.out;
  EXPECT_EQ(listed.out.find("/left"), std::string::npos);
  EXPECT_EQ(oci_mount({"diff", "oci:" + (dir_ / "none").string(), disk("web")}).exit_code, 1);
  ASSERT_EQ(::mkfifo((dir_ / "fifo").c_str(), 0600), 0);
  const Outcome no_file =
      oci_mount({"diff", "--layer", "--output", (dir_ / "fifo").string(), reference_, disk("web")});
  EXPECT_NE(no_file.err.find("is there and no file"), std::string::npos) << no_file.err;
  EXPECT_TRUE(fs::is_fifo(dir_ / "fifo"));
  fs::remove(vm("web") / "upper.image");
  const Outcome unknown = oci_mount({"diff", reference_, disk("web")});
  EXPECT_EQ(unknown.exit_code, 1);
  EXPECT_NE(unknown.err.find("upper.image"), std::string::npos) << unknown.err;
}

/// Who could not read overlayfs's marks off a mounted disk.
TEST_F(CommitDiskTest, AnOrdinaryUserReadsTheSame) {
  run({"chmod", "-R", "a+rX", dir_.path().string()});
  run({"install", "-d", "-o", "65534", "-g", "65534", (dir_ / "index").string(), (dir_ / "theirs").string()});
  const auto to_file = [&](const std::string& file) {
    return std::vector<std::string>{LAYERBOOT_OCI_MOUNT,
                                    "-q",
                                    "--index-dir",
                                    (dir_ / "index").string(),
                                    "--add-layer",
                                    vm("web") / "vm-layer.tar",
                                    "diff",
                                    "--layer",
                                    "-o",
                                    file,
                                    reference_,
                                    disk("web")};
  };
  auto words = to_file(dir_ / "theirs/layer");
  words.insert(words.begin(), {"setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"});
  const Outcome theirs = run_program(words, dir_ / "theirs");
  if (theirs.exit_code == 126 || theirs.exit_code == 127) GTEST_SKIP() << theirs.err;
  ASSERT_EQ(theirs.exit_code, 0) << theirs.err;
  const Outcome ours = run_program(to_file(dir_ / "layer"), dir_ / "cache");
  ASSERT_EQ(ours.exit_code, 0) << ours.err;
  EXPECT_EQ(Json::parse(theirs.out), Json::parse(ours.out));
}

TEST_F(CommitDiskTest, ADiskThatIsNoneSaysSo) {
  write_text(disk("web"), "not a file system");
  const Outcome refused = commit({"web", "app"});
  EXPECT_EQ(refused.exit_code, 1);
  EXPECT_NE(refused.err.find("damaged"), std::string::npos) << refused.err;
  EXPECT_EQ(oci_mount({"diff", reference_, disk("web")}).exit_code, 1);
}

}  // namespace
}  // namespace layerboot::test
