// The daemon's parts together, driven by a fake guest over vhost-user: the life of a request, and of a VM.
#include <gtest/gtest.h>
#include <linux/fuse.h>
#include <sys/stat.h>

#include <cstring>
#include <memory>
#include <optional>
#include <vector>

#include "tests/support/fake_guest_fuse.h"
#include "tests/vfsd/daemon/guest_on_fake.h"
#include "vfsd/daemon/served_queue.h"

namespace layerboot::vfsd {
namespace {

using test::FakeGuestOptions;
using test::FakeQueue;
using test::FuseClient;

struct Shape {
  const char* name;
  FakeGuestOptions options;
};

class Serving : public testing::TestWithParam<Shape> {
 protected:
  void SetUp() override {
    guest_ = daemon_.guest(GetParam().options);
    ASSERT_TRUE(guest_);
    const auto booted = guest_->boot();
    ASSERT_TRUE(booted) << booted.error().describe();
    client_.emplace(*guest_, 1);
    const auto init = client_->init();
    ASSERT_TRUE(init) << init.error().describe();
  }

  DaemonOnFake daemon_{GetParam().options.request_queues};
  std::unique_ptr<test::FakeGuest> guest_;
  std::optional<FuseClient> client_;
};

TEST_P(Serving, DoesWhatAGuestDoes) {
  const auto made = client_->create(1, "file", 0644, 0);
  ASSERT_TRUE(made) << made.error().describe();
  std::string data(300'000, 'x');
  for (std::size_t i = 0; i < data.size(); ++i) data[i] = static_cast<char>(i * 7 % 251);
  EXPECT_EQ(client_->write(made->nodeid, 5, data).value_or(0), data.size());
  const auto back = client_->read(made->nodeid, 0, 400'000);
  ASSERT_TRUE(back) << back.error().describe();
  EXPECT_EQ(*back, std::string(5, '\0') + data);
  EXPECT_EQ(client_->getattr(made->nodeid)->size, data.size() + 5);

  ASSERT_TRUE(client_->mkdir(1, "dir", 0755));
  ASSERT_TRUE(client_->rename(1, "file", client_->lookup(1, "dir")->nodeid, "moved"));
  EXPECT_EQ(client_->lookup(1, "file")->nodeid, 0U) << "a negative entry";
  FuseClient hiprio(*guest_, 0);
  EXPECT_TRUE(hiprio.forget(made->nodeid, 1));
}

TEST_P(Serving, GivesEveryForgetBack) {
  const auto made = client_->create(1, "file", 0644, 0);
  ASSERT_TRUE(made);
  // More than are gathered for one interrupt, and a rest that only time brings back.
  constexpr unsigned kForgets = ServedQueue::kMaxGathered + 10;
  FakeQueue& hiprio = guest_->queue(0);
  std::vector<FakeQueue::Request> requests;
  fuse_in_header header{};
  const fuse_forget_in body{0};
  header.len = sizeof(header) + sizeof(body);
  header.opcode = FUSE_FORGET;
  header.nodeid = made->nodeid;
  std::vector<std::byte> bytes(header.len);
  std::memcpy(bytes.data(), &header, sizeof(header));
  std::memcpy(bytes.data() + sizeof(header), &body, sizeof(body));
  for (unsigned i = 0; i < kForgets; ++i) {
    const auto request = hiprio.prepare(bytes, 0);
    ASSERT_TRUE(request) << request.error().describe();
    requests.push_back(*request);
    hiprio.offer(request->head);
    hiprio.kick();
  }
  for (const auto& request : requests) {
    const auto reply = hiprio.wait(request);
    ASSERT_TRUE(reply) << reply.error().describe();
    EXPECT_TRUE(reply->empty());
  }
  EXPECT_TRUE(client_->getattr(made->nodeid)) << "it was only forgotten zero times";
}

constexpr std::uint16_t kQueueSize = 128;
INSTANTIATE_TEST_SUITE_P(Shapes, Serving,
                         testing::Values(Shape{"Usual", {.queue_size = kQueueSize}},
                                         Shape{"NoEventIdx", {.queue_size = kQueueSize, .event_idx = false}},
                                         Shape{"NoIndirect", {.queue_size = 256, .indirect = false}},
                                         Shape{"MemTable", {.queue_size = kQueueSize, .memory_slots = false}},
                                         Shape{"TwoRegions", {.queue_size = kQueueSize, .two_regions = true}},
                                         Shape{"ManyQueues", {.request_queues = 4, .queue_size = 1024}}),
                         [](const auto& shape) { return std::string(shape.param.name); });

}  // namespace
}  // namespace layerboot::vfsd
