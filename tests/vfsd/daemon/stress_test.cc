// Many requests from many threads: no kick and no interrupt may get lost, with few of either.
#include <gtest/gtest.h>

#include <atomic>
#include <random>
#include <thread>

#include "oci-mount/base/bytes.h"
#include "tests/support/fake_guest_fuse.h"
#include "tests/vfsd/daemon/guest_on_fake.h"

namespace layerboot::vfsd {
namespace {

using test::FakeGuestOptions;
using test::FakeQueue;
using test::FuseClient;

class Stress : public testing::TestWithParam<FakeGuestOptions> {};

INSTANTIATE_TEST_SUITE_P(Shapes, Stress,
                         testing::Values(FakeGuestOptions{.request_queues = 3, .queue_size = 64},
                                         FakeGuestOptions{
                                             .request_queues = 3, .queue_size = 64, .event_idx = false},
                                         FakeGuestOptions{.request_queues = 2, .queue_size = 8}));

/// Keeps a random number of requests in flight on one queue.
void drive(test::FakeGuest& guest, unsigned index, std::uint64_t node, unsigned seed,
           std::atomic<unsigned>& good) {
  constexpr unsigned kRounds = 1500;
  std::mt19937 random(seed + index);
  FuseClient client(guest, index);
  FakeQueue& queue = guest.queue(index);
  for (unsigned round = 0; round < kRounds; ++round) {
    std::vector<std::pair<std::vector<std::byte>, FakeQueue::Request>> batch;
    const auto depth = 1 + random() % (queue.size() - 1U);
    for (unsigned i = 0; i < depth; ++i) {
      auto request = client.encode(FUSE_GETATTR, node, {object_bytes(fuse_getattr_in{})});
      auto prepared = queue.prepare(request, sizeof(fuse_out_header) + sizeof(fuse_attr_out));
      ASSERT_TRUE(prepared) << prepared.error().describe();
      queue.offer(prepared->head);
      if (random() % 2 == 0) queue.kick();
      batch.emplace_back(std::move(request), std::move(*prepared));
    }
    queue.kick();
    for (const auto& [request, prepared] : batch) {
      const auto reply = queue.wait(prepared);
      ASSERT_TRUE(reply) << reply.error().describe();
      ASSERT_TRUE(FuseClient::judge(request, *reply));
      ++good;
    }
  }
}

TEST_P(Stress, LosesNothing) {
  const unsigned seed = 4711;
  SCOPED_TRACE(seed);
  DaemonOnFake daemon(GetParam().request_queues);
  const auto guest = daemon.guest(GetParam());
  ASSERT_TRUE(guest && guest->boot());
  ASSERT_TRUE(FuseClient(*guest, 1).init());
  const auto file = daemon.fs.add_file(1, "file", "content");
  std::atomic<unsigned> good = 0;
  std::vector<std::thread> drivers;
  for (unsigned i = 0; i < guest->queue_count(); ++i) {
    drivers.emplace_back([&, i] { drive(*guest, i, file, seed, good); });
  }
  for (auto& driver : drivers) driver.join();
  std::uint64_t interrupts = 0;
  for (unsigned i = 0; i < guest->queue_count(); ++i) interrupts += guest->queue(i).interrupts();
  EXPECT_GT(good, 0U);
  EXPECT_LE(interrupts, good) << "no more interrupts than replies";
}

TEST(ConcurrentReaddirplus, OnOneDirectory) {
  DaemonOnFake daemon(2);
  const auto guest = daemon.guest({.request_queues = 2, .queue_size = 128});
  ASSERT_TRUE(guest && guest->boot());
  ASSERT_TRUE(FuseClient(*guest, 1).init());
  for (int i = 0; i < 500; ++i) daemon.fs.add_file(1, str_cat("f", i), "");
  std::vector<std::thread> drivers;
  for (unsigned index = 1; index <= 2; ++index) {
    drivers.emplace_back([&, index] {
      FuseClient client(*guest, index);
      std::vector<std::pair<std::vector<std::byte>, FakeQueue::Request>> batch;
      for (unsigned i = 0; i < 32; ++i) {
        fuse_read_in in{};
        in.offset = i * 10;
        in.size = 4096;
        auto request = client.encode(FUSE_READDIRPLUS, 1, {object_bytes(in)});
        auto prepared = *guest->queue(index).prepare(request, 4096 + sizeof(fuse_out_header));
        guest->queue(index).offer(prepared.head);
        batch.emplace_back(std::move(request), std::move(prepared));
      }
      guest->queue(index).kick();
      for (const auto& [request, prepared] : batch) {
        const auto reply = guest->queue(index).wait(prepared);
        ASSERT_TRUE(reply);
        ASSERT_TRUE(FuseClient::judge(request, *reply));
      }
    });
  }
  for (auto& driver : drivers) driver.join();
}

}  // namespace
}  // namespace layerboot::vfsd
