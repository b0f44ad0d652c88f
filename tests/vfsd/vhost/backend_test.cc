#include "vfsd/vhost/backend.h"

#include <gtest/gtest.h>
#include <sys/eventfd.h>
#include <sys/mman.h>

#include "oci-mount/base/bytes.h"

namespace layerboot::vfsd::vhost {
namespace {

/// Notes what it is told.
struct FakeHost final : QueueHost {
  [[nodiscard]] unsigned queue_count() const override { return 2; }
  void start(unsigned index, Rings rings, bool event_idx_in, std::uint16_t next, int) override {
    running[index] = true;
    starts.push_back(next);
    event_idx = event_idx_in;
    sizes.push_back(rings.size);
  }
  std::uint16_t stop(unsigned index) override {
    running[index] = false;
    ++stops;
    return 77;
  }
  void move_to(unsigned, Rings) override { ++moves; }
  void set_call(unsigned index, UniqueFd fd) override { calls[index] = std::move(fd); }

  bool running[2] = {false, false};
  bool event_idx = false;
  std::vector<std::uint16_t> starts;
  std::vector<std::uint16_t> sizes;
  unsigned stops = 0;
  unsigned moves = 0;
  UniqueFd calls[2];
};

constexpr std::uint64_t kBytes = 1 << 20;

class BackendTest : public testing::Test {
 protected:
  std::optional<std::vector<std::byte>> send(Request request, std::span<const std::byte> payload,
                                             std::vector<UniqueFd> fds = {}, bool need_reply = false) {
    Message message;
    message.header = {static_cast<std::uint32_t>(request), kVersion | (need_reply ? kFlagNeedReply : 0),
                      static_cast<std::uint32_t>(payload.size())};
    message.payload.assign(payload.begin(), payload.end());
    message.fds = std::move(fds);
    return backend.handle(std::move(message));
  }
  /// 0 if it was done.
  std::uint64_t acked(Request request, std::span<const std::byte> payload, std::vector<UniqueFd> fds = {}) {
    const auto reply = send(request, payload, std::move(fds), true);
    return reply ? ByteReader(*reply).read<std::uint64_t>() : 1000;
  }
  template <typename T>
  std::uint64_t acked(Request request, const T& payload, std::vector<UniqueFd> fds = {}) {
    return acked(request, std::span(object_bytes(payload)), std::move(fds));
  }
  static std::vector<UniqueFd> event() {
    std::vector<UniqueFd> fds;
    fds.emplace_back(::eventfd(0, EFD_CLOEXEC));
    return fds;
  }
  static std::vector<UniqueFd> memory() {
    std::vector<UniqueFd> fds;
    fds.emplace_back(::memfd_create("backend", MFD_CLOEXEC));
    EXPECT_EQ(::ftruncate(fds[0].get(), kBytes), 0);
    return fds;
  }
  static SingleMemoryRegion region(std::uint64_t guest, std::uint64_t user) {
    return {0, {guest, kBytes, user, 0}};
  }
  static VringAddresses addresses(std::uint32_t index, std::uint64_t user) {
    return {index, 0, user, user + 0x4000, user + 0x2000, 0};
  }
  /// As QEMU does it, up to the kick.
  void prepare(std::uint32_t index, std::uint64_t features = kFeatureVersion1 | kFeatureProtocolFeatures) {
    send(Request::kSetProtocolFeatures, object_bytes(kProtocolReplyAck | kProtocolMq));
    EXPECT_EQ(acked(Request::kSetFeatures, features), 0U);
    EXPECT_EQ(acked(Request::kAddMemReg, region(0, 0x10000), memory()), 0U);
    EXPECT_EQ(acked(Request::kSetVringNum, VringState{index, 64}), 0U);
    EXPECT_EQ(acked(Request::kSetVringBase, VringState{index, 5}), 0U);
    EXPECT_EQ(acked(Request::kSetVringAddr, addresses(index, 0x10000)), 0U);
    EXPECT_EQ(acked(Request::kSetVringKick, std::uint64_t{index}, event()), 0U);
  }

  FakeHost host;
  Backend backend{host};
};

TEST_F(BackendTest, OffersWhatItHas) {
  const auto features = ByteReader(*send(Request::kGetFeatures, {})).read<std::uint64_t>();
  EXPECT_EQ(features, kFeatureVersion1 | kFeatureIndirect | kFeatureEventIdx | kFeatureProtocolFeatures);
  EXPECT_EQ(ByteReader(*send(Request::kGetQueueNum, {})).read<std::uint64_t>(), 2U);
  EXPECT_GE(ByteReader(*send(Request::kGetMaxMemSlots, {})).read<std::uint64_t>(), 32U);
}

TEST_F(BackendTest, StartsWhenEnabledAndStopsWhenAsked) {
  prepare(1);
  EXPECT_FALSE(host.running[1]) << "not before it is enabled";
  EXPECT_EQ(acked(Request::kSetVringEnable, VringState{1, 1}), 0U);
  ASSERT_TRUE(host.running[1]);
  EXPECT_EQ(host.starts, std::vector<std::uint16_t>{5});
  EXPECT_EQ(host.sizes, std::vector<std::uint16_t>{64});
  EXPECT_EQ(acked(Request::kSetVringEnable, VringState{1, 0}), 0U);
  EXPECT_FALSE(host.running[1]);
  const auto base = send(Request::kGetVringBase, object_bytes(VringState{1, 0}));
  ASSERT_TRUE(base);
  EXPECT_EQ(ByteReader(*base).read<VringState>().value, 77U);
  EXPECT_EQ(host.stops, 1U);
}

TEST_F(BackendTest, RingsStartEnabledWithoutProtocolFeatures) {
  prepare(0, kFeatureVersion1 | kFeatureEventIdx);
  EXPECT_TRUE(host.running[0]);
  EXPECT_TRUE(host.event_idx);
}

TEST_F(BackendTest, FeaturesAtRunTimeDoNotDisturb) {
  prepare(1);
  acked(Request::kSetVringEnable, VringState{1, 1});
  constexpr std::uint64_t kLogAll = 1ULL << 26;
  EXPECT_EQ(acked(Request::kSetFeatures, kFeatureVersion1 | kFeatureProtocolFeatures | kLogAll), 0U);
  EXPECT_TRUE(host.running[1]);
  EXPECT_EQ(host.stops, 0U);
  EXPECT_NE(acked(Request::kSetFeatures, std::uint64_t{1} << 34), 0U) << "the packed ring was not offered";
}

TEST_F(BackendTest, BadIndexesAreReplies) {
  prepare(1);
  for (const std::uint32_t index : {2U, 255U, ~0U}) {
    EXPECT_NE(acked(Request::kSetVringNum, VringState{index, 64}), 0U);
    EXPECT_NE(acked(Request::kSetVringBase, VringState{index, 0}), 0U);
    EXPECT_NE(acked(Request::kSetVringAddr, addresses(index, 0x10000)), 0U);
    EXPECT_NE(acked(Request::kSetVringEnable, VringState{index, 1}), 0U);
    EXPECT_TRUE(send(Request::kGetVringBase, object_bytes(VringState{index, 0}))) << "or the front end waits";
  }
  EXPECT_NE(acked(Request::kSetVringKick, std::uint64_t{9}, event()), 0U);
  EXPECT_NE(acked(Request::kSetVringCall, std::uint64_t{9}, event()), 0U);
}

TEST_F(BackendTest, BadPayloadsAreReplies) {
  prepare(1);
  for (std::uint32_t request = 0; request < 64; ++request) {
    const std::vector<std::byte> odd(3);
    const auto reply = send(static_cast<Request>(request), odd, {}, true);
    ASSERT_TRUE(reply) << request;
  }
  EXPECT_NE(acked(Request::kSetVringKick, std::uint64_t{1}), 0U) << "no descriptor";
  EXPECT_NE(acked(Request::kSetVringKick, std::uint64_t{1} | kVringNoFd), 0U) << "polling";
  EXPECT_NE(acked(Request::kAddMemReg, region(1 << 30, 0x90000)), 0U) << "no descriptor";
  EXPECT_NE(acked(static_cast<Request>(99), {}), 0U);
}

TEST_F(BackendTest, NothingIsRepliedUnlessAsked) {
  send(Request::kSetProtocolFeatures, object_bytes(kProtocolReplyAck));
  EXPECT_FALSE(send(Request::kSetVringNum, object_bytes(VringState{99, 64})));
  EXPECT_FALSE(send(static_cast<Request>(99), {}));
}

TEST_F(BackendTest, CallsAreSwappedAtAnyTime) {
  EXPECT_FALSE(send(Request::kSetVringCall, object_bytes(std::uint64_t{1}), event()));
  EXPECT_TRUE(host.calls[1]) << "before SET_VRING_NUM";
  prepare(1);
  EXPECT_EQ(acked(Request::kSetVringCall, std::uint64_t{1} | kVringNoFd), 0U);
  EXPECT_FALSE(host.calls[1]);
  EXPECT_NE(acked(Request::kSetVringCall, std::uint64_t{1} | kVringNoFd, event()), 0U);
}

TEST_F(BackendTest, MemoryMayComeAndGoWhileRunning) {
  prepare(1);
  acked(Request::kSetVringEnable, VringState{1, 1});
  EXPECT_EQ(acked(Request::kAddMemReg, region(1 << 30, 0x1000000), memory()), 0U);
  EXPECT_EQ(host.moves, 1U);
  EXPECT_EQ(acked(Request::kRemMemReg, region(1 << 30, 0x1000000), memory()), 0U) << "with a descriptor";
  EXPECT_TRUE(host.running[1]);
  EXPECT_NE(acked(Request::kRemMemReg, region(1 << 30, 0x1000000)), 0U) << "it is gone already";
  EXPECT_NE(acked(Request::kRemMemReg, region(0, 0x10000)), 0U) << "the rings were in it";
  EXPECT_FALSE(host.running[1]);
}

TEST_F(BackendTest, TakesAWholeMemoryTable) {
  struct {
    MemoryTableHead head;
    MemoryRegion region;
  } table{{1, 0}, {0, kBytes, 0x10000, 0}};
  send(Request::kSetProtocolFeatures, object_bytes(kProtocolReplyAck));
  EXPECT_EQ(acked(Request::kSetMemTable, table, memory()), 0U);
  EXPECT_NE(acked(Request::kSetMemTable, table), 0U) << "no descriptor";
  table.head.region_count = 9;
  EXPECT_NE(acked(Request::kSetMemTable, table, memory()), 0U);
}

TEST_F(BackendTest, AResetForgets) {
  prepare(1);
  acked(Request::kSetVringEnable, VringState{1, 1});
  EXPECT_FALSE(send(Request::kResetDevice, {}));
  EXPECT_FALSE(host.running[1]);
  EXPECT_EQ(acked(Request::kSetVringEnable, VringState{1, 1}), 0U);
  EXPECT_FALSE(host.running[1]) << "it has no rings any more";
  backend.disconnect();
  EXPECT_FALSE(host.calls[1]);
}

}  // namespace
}  // namespace layerboot::vfsd::vhost
