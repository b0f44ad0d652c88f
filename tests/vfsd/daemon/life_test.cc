// What a front end does to running queues: stops, reboots, swapped events, memory that comes and goes, loss.
#include <gtest/gtest.h>
#include <sys/eventfd.h>
#include <sys/mman.h>

#include <thread>

#include "oci-mount/base/bytes.h"
#include "tests/support/fake_guest_fuse.h"
#include "tests/vfsd/daemon/guest_on_fake.h"

namespace layerboot::vfsd {
namespace {

using test::FakeGuestOptions;
using test::FakeQueue;
using test::FuseClient;
using vhost::Request;
using vhost::VringState;

class Life : public testing::Test {
 protected:
  void boot(FakeGuestOptions options = {}) {
    daemon = std::make_unique<DaemonOnFake>(options.request_queues);
    guest = daemon->guest(options);
    ASSERT_TRUE(guest);
    const auto booted = guest->boot();
    ASSERT_TRUE(booted) << booted.error().describe();
    client.emplace(*guest, 1);
    ASSERT_TRUE(client->init());
    file = daemon->fs.add_file(1, "file", "content");
  }
  /// A READ that is offered but not waited for.
  FakeQueue::Request offer_read(unsigned queue = 1) {
    fuse_read_in in{};
    in.size = 100;
    last_request = client->encode(FUSE_READ, file, {object_bytes(in)});
    auto prepared = *guest->queue(queue).prepare(last_request, 116);
    guest->queue(queue).offer(prepared.head);
    guest->queue(queue).kick();
    return prepared;
  }
  void wait_until_reads_wait(std::size_t count) {
    while (daemon->fs.waiting_reads() != count) std::this_thread::yield();
  }

  std::unique_ptr<DaemonOnFake> daemon;
  std::unique_ptr<test::FakeGuest> guest;
  std::optional<FuseClient> client;
  std::vector<std::byte> last_request;
  std::uint64_t file = 0;
};

TEST_F(Life, ReadsOvertakeOneThatWaits) {
  boot();
  daemon->fs.hold_reads();
  const auto waiting = offer_read();
  wait_until_reads_wait(1);
  EXPECT_TRUE(client->getattr(file)) << "other requests are answered meanwhile";
  EXPECT_FALSE(guest->queue(1).is_done(waiting));
  daemon->fs.release_reads();
  const auto reply = guest->queue(1).wait(waiting);
  ASSERT_TRUE(reply) << reply.error().describe();
  EXPECT_EQ(as_text(*FuseClient::judge(last_request, *reply)), "content");
}

TEST_F(Life, GetVringBaseDrainsWhatIsInFlight) {
  constexpr std::uint16_t kReads = 200;
  boot({.queue_size = 256});
  daemon->fs.hold_reads();
  std::vector<FakeQueue::Request> reads;
  for (unsigned i = 0; i < kReads; ++i) reads.push_back(offer_read());
  wait_until_reads_wait(kReads);
  ASSERT_TRUE(guest->send(Request::kGetVringBase, object_bytes(VringState{1, 0})));
  std::thread release([&] { daemon->fs.release_reads(); });
  const auto reply = guest->receive_reply(Request::kGetVringBase);
  release.join();
  ASSERT_TRUE(reply) << reply.error().describe();
  EXPECT_EQ(ByteReader(*reply).read<VringState>().value, kReads + 1U);
  EXPECT_EQ(guest->queue(1).used_index(), kReads + 1) << "all of it was written before the reply";
  for (const auto& read : reads) EXPECT_TRUE(guest->queue(1).is_done(read));
}

TEST_F(Life, MoreReadsWaitThanThereAreSlots) {
  boot({.queue_size = 1024});
  constexpr std::size_t kReads = ServedQueue::kMaxInFlight + 300;
  daemon->fs.hold_reads();
  std::vector<FakeQueue::Request> reads;
  for (std::size_t i = 0; i < kReads; ++i) reads.push_back(offer_read());
  wait_until_reads_wait(ServedQueue::kMaxInFlight);
  daemon->fs.release_reads();
  for (const auto& read : reads) {
    const auto reply = guest->queue(1).wait(read);
    ASSERT_TRUE(reply) << reply.error().describe();
  }
}

TEST_F(Life, RebootsWithoutGoodbye) {
  boot({.request_queues = 2});
  for (unsigned i = 0; i < 100; ++i) {
    ASSERT_TRUE(client->lookup(1, "file")) << i;
    ASSERT_TRUE(guest->stop()) << i;
    const auto started = guest->start();
    ASSERT_TRUE(started) << i << ": " << started.error().describe();
    ASSERT_TRUE(client->init()) << i;
  }
  EXPECT_EQ(daemon->fs.resets(), 100U) << "the first finds all as it was opened";
  EXPECT_EQ(client->lookup(1, "file")->nodeid, file);
  EXPECT_EQ(daemon->fs.references(file), 1U);
}

TEST_F(Life, ASwappedCallIsSignalledOnce) {
  boot();
  daemon->fs.hold_reads();
  const auto waiting = offer_read();
  wait_until_reads_wait(1);
  ASSERT_TRUE(guest->replace_call(1, true));
  // Something may have been told to the old one. The queue's thread has it as soon as it comes to it.
  eventfd_t count = 0;
  while (::eventfd_read(guest->queue(1).call_fd(), &count) != 0) std::this_thread::yield();
  EXPECT_EQ(count, 1U);
  daemon->fs.release_reads();
  EXPECT_TRUE(guest->queue(1).wait(waiting));
}

TEST_F(Life, WorksWithoutACallDescriptor) {
  boot();
  ASSERT_TRUE(guest->replace_call(1, false));
  const auto read = offer_read();
  while (!guest->queue(1).is_done(read)) std::this_thread::yield();
  ASSERT_TRUE(guest->replace_call(1, true));
  EXPECT_TRUE(client->getattr(file));
}

TEST_F(Life, FeaturesAtRunTimeDoNotDisturb) {
  boot();
  const std::uint64_t features = vhost::kFeatureVersion1 | vhost::kFeatureProtocolFeatures |
                                 vhost::kFeatureEventIdx | vhost::kFeatureIndirect | 1ULL << 26;
  EXPECT_EQ(guest->send_acked(Request::kSetFeatures, object_bytes(features)).value_or(9), 0U);
  EXPECT_TRUE(client->getattr(file));
}

TEST_F(Life, MemoryComesAndGoesUnderRequests) {
  boot();
  const UniqueFd extra(::memfd_create("extra", MFD_CLOEXEC));
  ASSERT_EQ(::ftruncate(extra.get(), 1 << 20), 0);
  const int fd = extra.get();
  const vhost::SingleMemoryRegion region{0, {1ULL << 40, 1 << 20, 1ULL << 40, 0}};
  daemon->fs.hold_reads();
  const auto waiting = offer_read();
  wait_until_reads_wait(1);
  for (int i = 0; i < 20; ++i) {
    ASSERT_EQ(guest->send_acked(Request::kAddMemReg, object_bytes(region), {&fd, 1}).value_or(9), 0U);
    ASSERT_TRUE(client->getattr(file));
    ASSERT_EQ(guest->send_acked(Request::kRemMemReg, object_bytes(region)).value_or(9), 0U);
    ASSERT_TRUE(client->getattr(file));
  }
  daemon->fs.release_reads();
  EXPECT_TRUE(guest->queue(1).wait(waiting));
}

TEST_F(Life, AGuestThatBreaksItsRingStopsOnlyThat) {
  boot({.request_queues = 2});
  guest->queue(2).set_available_index(5000);
  guest->queue(2).force_kick();
  // A chain that loops, and one outside memory, come back empty.
  auto& queue = guest->queue(1);
  auto bad = *queue.prepare(std::vector<std::byte>(80), 64);
  queue.descriptor(bad.head) = {1, 64, vhost::kDescriptorIndirect, 0};
  queue.offer(bad.head);
  queue.kick();
  EXPECT_EQ(queue.wait(bad)->size(), 0U);
  EXPECT_TRUE(client->getattr(file));
  ASSERT_TRUE(guest->stop());
  ASSERT_TRUE(guest->start()) << "the queue works again after a restart";
  FuseClient second(*guest, 2);
  EXPECT_TRUE(second.init());
}

TEST_F(Life, TheGuestGoesAwayInTheMiddle) {
  boot();
  daemon->fs.hold_reads();
  for (unsigned i = 0; i < 10; ++i) offer_read();
  wait_until_reads_wait(10);
  guest->hang_up();
  daemon->fs.release_reads();
  daemon->thread.join();  // it was the only front end
  EXPECT_FALSE(daemon->session.initialised());
  daemon->thread = std::thread([] {});
}

}  // namespace
}  // namespace layerboot::vfsd
