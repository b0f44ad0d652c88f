// vfsd as a launcher and a VM meet it: the POSIX suite through a fake guest (and, for the suite's own sake,
// through the host's file system), and how it starts, ends and refuses.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>

#include "tests/process/vfsd_door.h"
#include "tests/process/vfsd_posix_suite.h"
#include "tests/process/vfsd_process.h"
#include "tests/support/image_builder.h"
#include "tests/support/tar_builder.h"
#include "tests/support/temp_dir.h"

namespace layerboot::test {
namespace {

namespace fs = std::filesystem;

/// An image of two layers that makes the suite's tree.
void build_image(const fs::path& layout) {
  TarBuilder lower;
  lower.directory("etc")
      .file("etc/hostname", "older\n")
      .file("etc/gone", "x")
      .symlink("etc/conf", "hostname");
  lower.directory("dir").file("dir/a", "a").file("dir/b", "b").file("dir/c", "c").file("dir/whited", "out");
  TarBuilder upper;
  upper.file("etc/hostname", "lower\n").whiteout("dir/whited").file("big", big_content());
  ImageBuilder image(layout);
  image.add_gzip_layer(lower.finish()).add_gzip_layer(upper.finish());
  image.write();
}

/// The suite's tree, as a directory of the host.
void make_suite_tree(const fs::path& top) {
  fs::create_directories(top / "etc");
  fs::create_directories(top / "dir");
  write_text(top / "etc/hostname", "lower\n");
  write_text(top / "etc/gone", "x");
  write_text(top / "big", big_content());
  for (const auto* name : {"a", "b", "c"}) write_text(top / "dir" / name, name);
  fs::create_symlink("hostname", top / "etc/conf");
}

class VfsdTest : public testing::Test {
 protected:
  void SetUp() override { build_image(dir_ / "image"); }

  std::string image() const { return "oci:" + (dir_ / "image").string(); }
  fs::path socket() const { return dir_ / "s"; }
  std::vector<std::string> arguments(std::vector<std::string> more = {}) const {
    std::vector<std::string> words{"--socket-path", socket(),       "--image", image(),
                                   "--upper",       dir_ / "upper", "--quota", "64M"};
    words.insert(words.end(), more.begin(), more.end());
    return words;
  }
  void start(std::vector<std::string> more = {}) {
    vfsd_ = std::make_unique<VfsdProcess>(arguments(std::move(more)), dir_ / "cache");
    ASSERT_TRUE(vfsd_->ready()) << vfsd_->messages();
  }
  void boot(FakeGuestOptions options = {}) {
    auto guest = FakeGuest::connect(socket(), options);
    ASSERT_TRUE(guest) << guest.error().describe();
    guest_ = std::move(*guest);
    const auto booted = guest_->boot();
    ASSERT_TRUE(booted) << booted.error().describe();
    client_.emplace(*guest_, 1);
    const auto init = client_->init();
    ASSERT_TRUE(init) << init.error().describe();
  }
  /// vfsd with these arguments ends with exit code 1 and one line that names `what`.
  void expect_refused(std::vector<std::string> words, const std::string& what) {
    VfsdProcess refused(std::move(words), dir_ / "cache");
    EXPECT_FALSE(refused.ready());
    EXPECT_EQ(refused.wait(), 1);
    const std::string said = refused.messages();
    EXPECT_NE(said.find(what), std::string::npos) << said;
    EXPECT_EQ(std::count(said.begin(), said.end(), '\n'), 1) << said;
  }

  TempDir dir_;
  std::unique_ptr<VfsdProcess> vfsd_;
  std::unique_ptr<FakeGuest> guest_;
  std::optional<FuseClient> client_;
};

// ---- the suite ----------------------------------------------------------------------------------

class VfsdPosixTest : public VfsdTest, public testing::WithParamInterface<PosixCheck> {};

TEST_P(VfsdPosixTest, Passes) {
  start({"--quiet"});
  boot();
  GuestDoor door(*client_);
  GetParam().run(door);
  EXPECT_EQ(vfsd_->messages(), "");
}

/// The same on a directory that is served in place.
class VfsdSharePosixTest : public VfsdTest, public testing::WithParamInterface<PosixCheck> {};

TEST_P(VfsdSharePosixTest, Passes) {
  make_suite_tree(dir_ / "share");
  vfsd_ = std::make_unique<VfsdProcess>(
      std::vector<std::string>{"--socket-path", socket(), "--share", dir_ / "share", "--quiet"},
      dir_ / "cache");
  ASSERT_TRUE(vfsd_->ready()) << vfsd_->messages();
  boot();
  GuestDoor door(*client_);
  GetParam().run(door);
  EXPECT_EQ(vfsd_->messages(), "");
}

class HostPosixTest : public testing::TestWithParam<PosixCheck> {};

TEST_P(HostPosixTest, Agrees) {
  const TempDir dir;
  make_suite_tree(dir.path());
  const mode_t mask = ::umask(0);  // a guest's kernel applies its own
  DirectoryDoor door(dir.path());
  GetParam().run(door);
  ::umask(mask);
}

const auto kName = [](const auto& check) { return std::string(check.param.name); };
INSTANTIATE_TEST_SUITE_P(Posix, VfsdPosixTest, testing::ValuesIn(posix_checks()), kName);
INSTANTIATE_TEST_SUITE_P(Posix, VfsdSharePosixTest, testing::ValuesIn(posix_checks()), kName);
INSTANTIATE_TEST_SUITE_P(Posix, HostPosixTest, testing::ValuesIn(posix_checks()), kName);

// ---- life ---------------------------------------------------------------------------------------

TEST_F(VfsdTest, KeepsWhatWasWrittenForTheNextOne) {
  for (const bool first : {true, false}) {
    start();
    boot();
    GuestDoor door(*client_);
    std::string back;
    if (first) {
      EXPECT_EQ(door.create("kept", 0644, true), 0);
      EXPECT_EQ(door.write("kept", 0, "kept"), 0);
      EXPECT_EQ(door.unlink("etc/gone"), 0);
    }
    EXPECT_EQ(door.read("kept", 0, 100, back), 0);
    EXPECT_EQ(back, "kept");
    Door::Stat stat;
    EXPECT_EQ(door.stat("etc/gone", stat), ENOENT);
    vfsd_->signal(first ? SIGTERM : SIGINT);
    EXPECT_EQ(vfsd_->wait(), 0) << vfsd_->messages();
    EXPECT_FALSE(fs::exists(socket()));
  }
}

TEST_F(VfsdTest, SaysWhenItsIndexesWereOpenAndWhenItWasReady) {
  start();
  unsigned long indexes_open_us = 0;
  unsigned long ready_us = 0;
  int length = 0;
  const std::string& line = vfsd_->ready_line();
  ASSERT_EQ(std::sscanf(line.c_str(), "ready indexes_open_us=%lu ready_us=%lu%n", &indexes_open_us, &ready_us,
                        &length),
            2)
      << line;
  EXPECT_EQ(line.size(), static_cast<std::size_t>(length));
  EXPECT_GT(indexes_open_us, 0U);
  EXPECT_LE(indexes_open_us, ready_us);
}

TEST_F(VfsdTest, KeepsListeningAfterAFrontEndHasGone) {
  start();
  for (int i = 0; i < 3; ++i) {
    boot({.request_queues = 1});
    EXPECT_TRUE(client_->lookup(1, "etc"));
    guest_->hang_up();
  }
}

TEST_F(VfsdTest, OnceEndsWithItsFrontEnd) {
  start({"--once"});
  boot();
  guest_->hang_up();
  EXPECT_EQ(vfsd_->wait(), 0);
  EXPECT_FALSE(fs::exists(socket()));
}

TEST_F(VfsdTest, TakesAnInheritedSocket) {
  int pair[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
  UniqueFd ours(pair[0]);
  UniqueFd theirs(pair[1]);
  VfsdProcess vfsd({"--fd", std::to_string(theirs.get()), "--image", image(), "--read-only"}, dir_ / "cache",
                   theirs.get());
  theirs.reset();
  ASSERT_TRUE(vfsd.ready()) << vfsd.messages();
  auto guest = *FakeGuest::adopt(std::move(ours), {});
  ASSERT_TRUE(guest->boot());
  FuseClient client(*guest, 1);
  ASSERT_TRUE(client.init());
  const auto etc = client.lookup(1, "etc");
  ASSERT_TRUE(etc);
  EXPECT_EQ(client.read(client.lookup(etc->nodeid, "hostname")->nodeid, 0, 100).value_or(""), "lower\n");
  EXPECT_EQ(client.mkdir(1, "d", 0755).error().code, EROFS);
  guest->hang_up();
  EXPECT_EQ(vfsd.wait(), 0);
}

TEST_F(VfsdTest, TheQuotaIsTheGuestsDisk) {
  start();
  boot();
  const auto before = client_->statfs();
  ASSERT_TRUE(before);
  EXPECT_EQ(before->blocks * before->bsize, 64U << 20);
  GuestDoor door(*client_);
  ASSERT_EQ(door.create("hog", 0644, true), 0);
  const std::string chunk(1 << 20, 'x');
  int code = 0;
  std::uint64_t written = 0;
  while (code == 0 && written < (128U << 20)) {
    code = door.write("hog", written, chunk);
    if (code == 0) written += chunk.size();
  }
  EXPECT_EQ(code, ENOSPC);
  EXPECT_GT(written, 56U << 20);
  EXPECT_LE(written, 64U << 20);
  EXPECT_LT(client_->statfs()->bfree * 4096, 4U << 20);
  EXPECT_EQ(door.unlink("hog"), 0);
}

// ---- what only a malicious or unusual guest does ---

TEST_F(VfsdTest, OpensNoSpecialFileOnTheGuestsWord) {
  start({"--quiet"});
  boot();
  const std::uint32_t kNull = 0x103;  // the host's /dev/null, were it opened
  const struct {
    const char* name;
    std::uint32_t mode;
  } kinds[] = {{"fifo", S_IFIFO}, {"socket", S_IFSOCK}, {"character", S_IFCHR}, {"block", S_IFBLK}};
  for (const auto& [name, mode] : kinds) {
    const auto made = client_->mknod(1, name, mode | 0666, kNull);
    if (!made && made.error().code == EPERM) continue;  // no right to make devices on this host
    ASSERT_TRUE(made) << name << ": " << made.error().describe();
    // Each of these would block for ever, or reach the host's device, were the node opened.
    EXPECT_FALSE(client_->read(made->nodeid, 0, 100)) << name;
    EXPECT_FALSE(client_->write(made->nodeid, 0, "x")) << name;
    EXPECT_FALSE(client_->fallocate(made->nodeid, 0, 0, 100)) << name;
    EXPECT_FALSE(client_->lseek(made->nodeid, 0, SEEK_DATA)) << name;
    fuse_setattr_in truncate{};
    truncate.valid = FATTR_SIZE;
    EXPECT_FALSE(client_->setattr(made->nodeid, truncate)) << name;
    EXPECT_TRUE(client_->getattr(made->nodeid)) << name;
    EXPECT_TRUE(client_->unlink(1, name)) << name;
  }
}

TEST_F(VfsdTest, AnUnlinkedFileLivesUntilItIsForgotten) {
  start({"--quiet"});
  boot();
  FuseClient hiprio(*guest_, 0);
  for (const bool of_the_image : {true, false}) {
    const auto node = of_the_image ? client_->lookup(client_->lookup(1, "etc")->nodeid, "hostname")->nodeid
                                   : client_->create(1, "new", 0644, 0)->nodeid;
    EXPECT_EQ(client_->write(node, 0, "still here").value_or(0), 10U);
    EXPECT_TRUE(of_the_image ? client_->unlink(client_->lookup(1, "etc")->nodeid, "hostname")
                             : client_->unlink(1, "new"));
    EXPECT_EQ(client_->read(node, 0, 10).value_or(""), "still here");
    EXPECT_EQ(client_->write(node, 6, "HERE").value_or(0), 4U);
    EXPECT_EQ(client_->read(node, 0, 10).value_or(""), "still HERE");
    EXPECT_EQ(client_->getattr(node)->nlink, 0U);
    EXPECT_TRUE(hiprio.forget(node, 100));
  }
}

TEST_F(VfsdTest, DescriptorsStayFewWhateverTheGuestHolds) {
  start({"--quiet"});
  boot({.queue_size = 128});
  const auto directory = client_->mkdir(1, "many", 0755);
  ASSERT_TRUE(directory);
  for (int i = 0; i < 2000; ++i) {  // created, written, never forgotten
    const auto made = client_->create(directory->nodeid, std::to_string(i), 0644, O_EXCL);
    ASSERT_TRUE(made) << i << ": " << made.error().describe();
    ASSERT_TRUE(client_->write(made->nodeid, 0, "x"));
  }
  const fs::path fds = "/proc/" + std::to_string(vfsd_->pid()) + "/fd";
  const auto count = std::distance(fs::directory_iterator(fds), fs::directory_iterator());
  EXPECT_LE(count, 256);
}

// ---- refusals -----------------------------------------------------------------------------------

TEST_F(VfsdTest, RefusesASocketInUse) {
  start({"--quiet"});
  expect_refused(arguments(), "in use");
  boot();
  EXPECT_TRUE(client_->lookup(1, "etc")) << "the first one goes on";
}

// What a killed one leaves is removed by who keeps its socket, or replaced, whoever comes first.
TEST_F(VfsdTest, StartsAnewAfterAKill) {
  for (int life = 0; life < 10; ++life) {
    start({"--quiet"});
    boot();
    vfsd_->signal(SIGKILL);
    EXPECT_EQ(vfsd_->wait(), -SIGKILL);
  }
  while (fs::exists(socket())) ::poll(nullptr, 0, 1);
}

TEST_F(VfsdTest, RefusesASecondDaemonOnOneUpper) {
  start({"--quiet"});
  auto words = arguments();
  words[1] = dir_ / "other";
  expect_refused(words, "upper");
  EXPECT_FALSE(fs::exists(dir_ / "other"));
}

TEST_F(VfsdTest, RefusesWhatIsNotThere) {
  auto words = arguments({"--quiet"});
  words[3] = "oci:" + (dir_ / "nowhere").string();
  expect_refused(words, "nowhere");
  words = arguments({"--quiet"});
  words[1] = dir_ / std::string(150, 'x');
  expect_refused(words, "107");
  EXPECT_FALSE(fs::exists(socket()));
}

TEST_F(VfsdTest, UsageErrorsExitWithTwo) {
  VfsdProcess usage({"--image", image()}, dir_ / "cache");
  EXPECT_EQ(usage.wait(), 2);
}

}  // namespace
}  // namespace layerboot::test
