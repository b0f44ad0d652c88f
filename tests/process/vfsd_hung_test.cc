// What lies on a file system that does not answer, served by vfsd in its sandbox: nobody waits for good.
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <array>

#include "oci-mount/base/bytes.h"
#include "tests/process/hung_file_system.h"
#include "tests/process/vfsd_share_fixture.h"

namespace layerboot::test {
namespace {

class VfsdHungTest : public VfsdShareTest {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "mounts a FUSE file system that does not answer, which takes root";
    VfsdShareTest::SetUp();
    hung_.emplace(host());
    ASSERT_TRUE(hung_->mounted()) << "no /dev/fuse";
  }
  void TearDown() override { hung_.reset(); }

  void serve_image(std::vector<std::string> more = {}) {
    std::vector<std::string> words{"--socket-path", dir_ / "s", "--image", "dir:" + host().string(),
                                   "--quiet"};
    words.insert(words.end(), more.begin(), more.end());
    vfsd_ = std::make_unique<VfsdProcess>(std::move(words), dir_ / "cache");
    ASSERT_TRUE(vfsd_->ready()) << vfsd_->messages();
    boot({.request_queues = 1});
  }
  /// Asks, and returns when the file system has been asked.
  void ask(const std::vector<std::byte>& request, std::size_t reply_bytes) {
    hung_->stop_answering();
    auto& queue = guest_->queue(1);
    const auto prepared = queue.prepare(request, reply_bytes);
    ASSERT_TRUE(prepared);
    queue.offer(prepared->head);
    queue.kick();
    ASSERT_TRUE(hung_->wait_for_question());
  }
  void ask_for_name() {
    const auto name = with_nul("file");
    ask(client_->encode(FUSE_LOOKUP, 1, {name}), 256);
  }
  void ask_for_bytes(std::uint64_t file, std::uint64_t offset) {
    constexpr std::uint32_t kBytes = 4096;
    fuse_read_in in{};
    in.offset = offset;
    in.size = kBytes;
    ask(client_->encode(FUSE_READ, file, {object_bytes(in)}), sizeof(fuse_out_header) + kBytes);
  }
  void stop_queue() {
    const vfsd::vhost::VringState state{1, 0};
    ASSERT_TRUE(guest_->send(vfsd::vhost::Request::kGetVringBase, object_bytes(state)));
  }
  void expect_end() {
    EXPECT_EQ(vfsd_->wait(), 1);
    EXPECT_NE(vfsd_->messages().find("does not answer"), std::string::npos) << vfsd_->messages();
  }

  std::optional<HungFileSystem> hung_;
};

TEST_F(VfsdHungTest, AShareIsNotWaitedForAtTheEnd) {
  serve();
  ask_for_name();  // on the queue's own thread
  vfsd_->signal(SIGTERM);
  expect_end();
}

TEST_F(VfsdHungTest, NothingIsWaitedForByWhoTellsAQueueSomething) {
  serve();
  ask_for_name();
  const std::uint64_t queue = 1 | vfsd::vhost::kVringNoFd;  // a guest has masked its interrupt
  ASSERT_TRUE(guest_->send(vfsd::vhost::Request::kSetVringCall, object_bytes(queue)));
  stop_queue();
  expect_end();
}

TEST_F(VfsdHungTest, AnImagesDirectoryIsNotWaitedForAtTheEnd) {
  serve_image({"--upper", dir_ / "upper", "--quota", "256M"});
  const auto made = client_->create(1, "made", 0644, O_EXCL | O_RDWR);
  ASSERT_TRUE(made) << made.error().describe();
  ASSERT_TRUE(client_->write(made->nodeid, 0, "kept"));
  ask_for_bytes(node("file"), 0);  // opens it, on the queue's own thread
  vfsd_->signal(SIGTERM);
  expect_end();
  hung_.reset();
  EXPECT_FALSE(std::filesystem::exists(dir_ / "upper/clean")) << "it was no clean stop";
  hung_.emplace(host());
  ASSERT_TRUE(hung_->mounted());
  serve_image({"--upper", dir_ / "upper", "--quota", "256M"});
  EXPECT_EQ(client_->read(node("made"), 0, 10).value_or(""), "kept");
  vfsd_->signal(SIGTERM);
  EXPECT_EQ(vfsd_->wait(), 0) << vfsd_->messages();
  EXPECT_TRUE(std::filesystem::exists(dir_ / "upper/clean"));
}

TEST_F(VfsdHungTest, NorIsItByAVmmThatStopsAQueue) {
  serve_image({"--read-only"});
  const auto file = node("file");
  ASSERT_TRUE(client_->read(file, 0, 4096));
  ask_for_bytes(file, HungFileSystem::kFileBytes / 2);  // which is open: by the reactor
  stop_queue();
  // This file system is asked at the end of a process, too, which then stays: the VMM must not wait for that.
  const auto answer = guest_->receive_reply(vfsd::vhost::Request::kGetVringBase);
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().code, ENOTCONN) << answer.error().describe();
  hung_.reset();
  expect_end();
}

}  // namespace
}  // namespace layerboot::test
