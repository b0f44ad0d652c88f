// A directory of the host served in place, by vfsd in its sandbox: what the host notices of it.
#include <fcntl.h>
#include <signal.h>
#include <sys/inotify.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <fstream>

#include "oci-mount/base/bytes.h"
#include "tests/process/vfsd_share_fixture.h"

namespace layerboot::test {
namespace {

namespace fs = std::filesystem;

/// Whether the host runs it: 0, or the errno of exec.
int run_on_host(const fs::path& program) {
  const pid_t child = ::fork();
  if (child == 0) {
    ::execl(program.c_str(), program.c_str(), nullptr);
    ::_exit(errno);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return WEXITSTATUS(status);
}

TEST_F(VfsdShareTest, TheHostRunsWhatTheGuestHasRead) {
  for (const bool read_only : {false, true}) {
    fs::copy_file("/bin/true", host("tool"), fs::copy_options::overwrite_existing);
    serve(read_only ? std::vector<std::string>{"--read-only"} : std::vector<std::string>());
    const auto tool = node("tool");
    const auto reading = client_->open(tool, O_RDONLY);
    ASSERT_TRUE(reading) << reading.error().describe();
    EXPECT_TRUE(client_->read(tool, 0, 64));
    EXPECT_EQ(run_on_host(host("tool")), 0) << "while the guest has it open";
    const auto writing = client_->open(tool, O_RDWR);
    EXPECT_EQ(writing ? 0 : writing.error().code, read_only ? EROFS : 0);
    if (!read_only) {
      EXPECT_EQ(run_on_host(host("tool")), ETXTBSY);
      EXPECT_TRUE(client_->release(tool, O_RDWR));
    }
    EXPECT_EQ(run_on_host(host("tool")), 0);
    guest_.reset();
    vfsd_.reset();
  }
}

TEST_F(VfsdShareTest, TheHostIsToldWhoHasClosedWhat) {
  std::ofstream(host("text")) << "hi";
  serve();
  const UniqueFd watch(::inotify_init1(IN_NONBLOCK | IN_CLOEXEC));
  ASSERT_GE(::inotify_add_watch(watch.get(), host("text").c_str(), IN_CLOSE_WRITE | IN_CLOSE_NOWRITE), 0);
  const auto told = [&] {
    std::uint32_t mask = 0;
    alignas(inotify_event) char events[4096];
    const ssize_t got = ::read(watch.get(), events, sizeof(events));
    for (ssize_t at = 0; at < got;) {
      const auto* const event = reinterpret_cast<const inotify_event*>(events + at);
      mask |= event->mask;
      at += static_cast<ssize_t>(sizeof(*event) + event->len);
    }
    return mask;
  };
  const auto text = node("text");
  const auto reading = client_->open(text, O_RDONLY);
  ASSERT_TRUE(reading);
  EXPECT_EQ(client_->read(text, 0, 2).value_or(""), "hi");
  EXPECT_EQ(told(), 0U);
  EXPECT_TRUE(client_->release(text, *reading));
  EXPECT_EQ(told(), std::uint32_t{IN_CLOSE_NOWRITE}) << "a reader that has changed nothing";
  const auto writing = client_->open(text, O_WRONLY);
  ASSERT_TRUE(writing);
  EXPECT_TRUE(client_->write(text, 0, "ho"));
  EXPECT_EQ(told(), 0U);
  EXPECT_TRUE(client_->release(text, *writing));
  EXPECT_EQ(told(), std::uint32_t{IN_CLOSE_WRITE});
}

TEST_F(VfsdShareTest, ACreatedFileIsOpenUntilItIsReleased) {
  serve();
  const auto made = client_->create(1, "tool", 0755, O_EXCL | O_WRONLY);
  ASSERT_TRUE(made);
  std::ifstream program("/bin/true", std::ios::binary);
  const std::string bytes{std::istreambuf_iterator<char>(program), {}};
  for (std::size_t at = 0; at < bytes.size(); at += 65536)
    ASSERT_TRUE(client_->write(made->nodeid, at, bytes.substr(at, 65536)));
  EXPECT_EQ(run_on_host(host("tool")), ETXTBSY);
  EXPECT_TRUE(client_->release(made->nodeid, O_WRONLY));
  EXPECT_EQ(run_on_host(host("tool")), 0);
}

TEST_F(VfsdShareTest, ManyOpenFilesOutliveTheirNames) {
  constexpr int kFiles = 1000;
  serve();
  std::vector<std::uint64_t> nodes;
  for (int i = 0; i < kFiles; ++i) {
    const std::string name = "f" + std::to_string(i);
    const auto made = client_->create(1, name, 0644, O_EXCL | O_RDWR);
    ASSERT_TRUE(made) << i << made.error().describe();
    ASSERT_TRUE(client_->write(made->nodeid, 0, name));
    ASSERT_TRUE(client_->unlink(1, name));
    nodes.push_back(made->nodeid);
  }
  EXPECT_TRUE(fs::is_empty(host()));
  // All that is asked of them and done to them is done within the sandbox.
  fuse_setattr_in change{};
  change.valid = FATTR_MODE | FATTR_MTIME;
  change.mode = 0600;
  change.mtime = 1'000'000;
  EXPECT_TRUE(client_->setattr(nodes[0], change));
  const auto changed = client_->getattr(nodes[0]);
  ASSERT_TRUE(changed) << changed.error().describe();
  EXPECT_EQ(changed->nlink, 0U);
  EXPECT_EQ(changed->mode & 07777, 0600U);
  EXPECT_EQ(changed->mtime, 1'000'000U);
  for (int i = 0; i < kFiles; ++i)
    EXPECT_EQ(client_->read(nodes[static_cast<std::size_t>(i)], 0, 10).value_or(""), "f" + std::to_string(i));
  for (const auto one : nodes) {
    EXPECT_TRUE(client_->release(one, O_RDWR));
    EXPECT_TRUE(client_->forget(one, 1));
  }
  EXPECT_LT(open_descriptors(), 100U);
}

// ---- rights
// ------------------------------------------------------------------------------------------------

TEST_F(VfsdShareTest, SetIdFilesOfTheHostLoseThatWithTheGuestsBytes) {
  const auto reset = [&] {
    std::ofstream(host("helper")) << "a helper of the host";
    ASSERT_EQ(::chmod(host("helper").c_str(), 06755), 0);
  };
  const auto bits = [&] {
    struct stat st{};
    ::stat(host("helper").c_str(), &st);
    return st.st_mode & 07777;
  };
  reset();
  serve();
  const auto helper = node("helper");
  EXPECT_EQ(client_->getattr(helper)->mode & 07777, 06755U);
  const auto writing = client_->open(helper, O_WRONLY);
  ASSERT_TRUE(writing);
  EXPECT_TRUE(client_->write(helper, 0, "the guest's")) << "as its root, without a word about set-id";
  EXPECT_EQ(bits(), 0755U);
  reset();
  EXPECT_TRUE(client_->fallocate(helper, 0, 0, 100'000));
  EXPECT_EQ(bits(), 0755U);
  reset();
  fuse_setattr_in cut{};
  cut.valid = FATTR_SIZE;
  cut.size = 3;
  EXPECT_TRUE(client_->setattr(helper, cut));
  EXPECT_EQ(bits(), 0755U);
}

TEST_F(VfsdShareTest, WhatTheGuestsUsersMakeIsTheirsWhereverTheyMay) {
  if (::geteuid() != 0) GTEST_SKIP() << "files of others, which takes root";
  // Of a group that the guest knows him to be in, or of an ACL, the host knows nothing.
  ASSERT_EQ(::chmod(host().c_str(), 0770), 0);
  serve();
  fuse_mkdir_in in{};
  in.mode = 0755;
  const auto name = with_nul("d");
  auto request = client_->encode(FUSE_MKDIR, 1, {object_bytes(in), name});
  fuse_in_header header{};
  std::memcpy(&header, request.data(), sizeof(header));
  header.uid = 1000;
  header.gid = 1001;
  std::memcpy(request.data(), &header, sizeof(header));
  const auto made = client_->exchange(request, sizeof(fuse_out_header) + sizeof(fuse_entry_out));
  ASSERT_TRUE(made) << made.error().describe();
  struct stat st{};
  ASSERT_EQ(::stat(host("d").c_str(), &st), 0);
  EXPECT_EQ(st.st_uid, 1000U);
  EXPECT_EQ(st.st_gid, 1001U);
  fuse_setattr_in change{};
  change.valid = FATTR_MODE;
  change.mode = S_IFDIR | 02775;
  ASSERT_TRUE(client_->setattr(node("d"), change));
  ASSERT_EQ(::stat(host("d").c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 07777, 02775U) << "a directory's bit that hands down its group";
}

TEST_F(VfsdShareTest, AMapOfIdsIsRootsAlone) {
  std::vector<std::string> words{"--socket-path", dir_ / "s", "--share", host(), "--idmap", "1000:1001"};
  if (::geteuid() != 0) {
    VfsdProcess refused(words, dir_ / "cache");
    EXPECT_FALSE(refused.ready());
    EXPECT_NE(refused.messages().find("takes root"), std::string::npos) << refused.messages();
    return;
  }
  serve({"--idmap", "1000:1001"});
  EXPECT_EQ(client_->mkdir(1, "d", 0755).error().code, EACCES)
      << "the directory is nobody's whom the guest knows";
  ASSERT_EQ(::chown(host().c_str(), 1000, 1001), 0);
  ASSERT_TRUE(client_->mkdir(1, "d", 0755));
  struct stat st{};
  ASSERT_EQ(::stat(host("d").c_str(), &st), 0);
  EXPECT_EQ(st.st_uid, 1000U);
  EXPECT_EQ(st.st_gid, 1001U);
  EXPECT_EQ(client_->getattr(node("d"))->uid, 0U);
}

TEST_F(VfsdShareTest, ALimitOfFileSizesIsAnErrorOfTheGuests) {
  serve();
  constexpr rlim_t kLimit = 1U << 20;
  const rlimit small{.rlim_cur = kLimit, .rlim_max = kLimit};
  ASSERT_EQ(::prlimit(vfsd_->pid(), RLIMIT_FSIZE, &small, nullptr), 0);
  const auto file = client_->create(1, "file", 0644, O_EXCL);
  ASSERT_TRUE(file);
  fuse_setattr_in longer{};
  longer.valid = FATTR_SIZE;
  longer.size = 2 * kLimit;
  EXPECT_EQ(client_->setattr(file->nodeid, longer).error().code, EFBIG);
  EXPECT_EQ(client_->write(file->nodeid, 2 * kLimit, "x").error().code, EFBIG);
  EXPECT_TRUE(client_->getattr(file->nodeid)) << "the daemon lives";
}

}  // namespace
}  // namespace layerboot::test
