#include "vfsd/vhost/channel.h"

#include <array>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include "oci-mount/base/bytes.h"
#include "tests/support/fake_guest.h"

namespace layerboot::vfsd::vhost {
namespace {

class ChannelTest : public testing::Test {
 protected:
  ChannelTest() {
    int pair[2];
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    front = UniqueFd(pair[0]);
    channel.emplace(std::move(*Channel::adopt(UniqueFd(pair[1]))));
  }
  void send(std::span<const std::byte> bytes) {
    ASSERT_EQ(::send(front.get(), bytes.data(), bytes.size(), 0), static_cast<ssize_t>(bytes.size()));
  }
  std::vector<std::byte> message(Header header, std::size_t payload_bytes) {
    std::vector<std::byte> bytes(sizeof(header) + payload_bytes, std::byte{7});
    std::memcpy(bytes.data(), &header, sizeof(header));
    return bytes;
  }

  UniqueFd front;
  std::optional<Channel> channel;
};

TEST_F(ChannelTest, PutsAMessageTogetherFromPieces) {
  const auto whole = message({5, kVersion, 20}, 20);
  for (std::size_t i = 0; i < whole.size(); ++i) {
    auto none = channel->receive();
    ASSERT_TRUE(none);
    ASSERT_FALSE(none->has_value()) << "after " << i << " bytes";
    send(std::span(whole).subspan(i, 1));
  }
  auto received = channel->receive();
  ASSERT_TRUE(received && *received);
  EXPECT_EQ((*received)->header.request, 5U);
  EXPECT_EQ((*received)->payload.size(), 20U);
}

TEST_F(ChannelTest, KeepsMessagesApart) {
  auto two = message({1, kVersion, 0}, 0);
  const auto second = message({2, kVersion, 8}, 8);
  two.insert(two.end(), second.begin(), second.end());
  send(two);
  EXPECT_EQ((*channel->receive())->header.request, 1U);
  EXPECT_EQ((*channel->receive())->header.request, 2U);
}

TEST_F(ChannelTest, TakesDescriptorsCloseOnExec) {
  auto guest = test::FakeGuest::adopt(std::move(front), {});
  ASSERT_TRUE(guest);
  const UniqueFd event(::eventfd(0, 0));
  const int fds[] = {event.get(), event.get()};
  ASSERT_TRUE((*guest)->send(Request::kSetVringCall, std::vector<std::byte>(8), fds));
  auto received = channel->receive();
  ASSERT_TRUE(received && *received);
  ASSERT_EQ((*received)->fds.size(), 2U);
  EXPECT_NE(::fcntl((*received)->fds[0].get(), F_GETFD) & FD_CLOEXEC, 0);
}

TEST_F(ChannelTest, EndsAtBrokenFraming) {
  send(message({1, kVersion, kMaxPayloadBytes + 1}, 0));
  EXPECT_FALSE(channel->receive());
}

TEST_F(ChannelTest, EndsAtAnotherVersion) {
  send(message({1, 2, 0}, 0));
  EXPECT_FALSE(channel->receive());
}

TEST_F(ChannelTest, EndsAtTooManyDescriptors) {
  auto guest = test::FakeGuest::adopt(std::move(front), {});
  const UniqueFd event(::eventfd(0, EFD_CLOEXEC));
  const std::vector<int> fds(kMaxMessageFds + 1, event.get());
  ASSERT_TRUE((*guest)->send(Request::kSetMemTable, {}, fds));
  EXPECT_FALSE(channel->receive());
}

TEST_F(ChannelTest, TellsAHangUpFromNothing) {
  EXPECT_FALSE(channel->receive()->has_value());
  front.reset();
  const auto gone = channel->receive();
  ASSERT_FALSE(gone);
  EXPECT_EQ(gone.error().code, ENOTCONN);
}

TEST_F(ChannelTest, RepliesWithTheRequestsNumber) {
  ASSERT_TRUE(channel->reply({17, kVersion, 0}, object_bytes(std::uint64_t{5})));
  std::array<std::byte, 64> bytes{};
  ASSERT_EQ(::recv(front.get(), bytes.data(), bytes.size(), 0), 20);
  ByteReader reader(bytes);
  const auto header = reader.read<Header>();
  EXPECT_EQ(header.request, 17U);
  EXPECT_EQ(header.flags, kVersion | kFlagReply);
  EXPECT_EQ(header.size_bytes, 8U);
  EXPECT_EQ(reader.read<std::uint64_t>(), 5U);
}

}  // namespace
}  // namespace layerboot::vfsd::vhost
