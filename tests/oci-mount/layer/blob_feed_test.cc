#include "oci-mount/layer/blob_feed.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <thread>

#include "oci-mount/base/bytes.h"
#include "tests/support/counting_blob.h"
#include "tests/support/image_builder.h"

namespace layerboot::layer {
namespace {

using test::CountingBlob;

store::Digest digest(std::string_view bytes) { return *store::Digest::parse(test::sha256_text(bytes)); }

class BlobFeedTest : public testing::Test {
 protected:
  static constexpr std::size_t kBlobBytes = 3 * kFeedBytes + 1234;

  void feed(CountingBlob& blob, std::string_view expected) {
    feeder_ = *BlobFeeder::create(blob, digest(expected));
    feeder_->feed();
  }
  void expect_failure(std::string_view part) const {
    const auto judged = feeder_->judge();
    ASSERT_FALSE(judged);
    EXPECT_NE(judged.error().text.find(part), std::string::npos) << judged.error().text;
  }

  std::string bytes_ = test::sample_bytes(kBlobBytes, 1);
  CountingBlob blob_{bytes_, "layer X"};
  std::unique_ptr<BlobFeeder> feeder_;
};

TEST_F(BlobFeedTest, TheOtherEndGetsTheBlobPassByPass) {
  feed(blob_, bytes_);
  std::array<int, 2> ends{};
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()), 0);
  const UniqueFd ours(ends[0]);
  UniqueFd theirs(ends[1]);
  std::string first;
  std::string second;
  std::thread child([&] {
    const ChildReports reports(theirs.get());
    const auto pieces = *FedPieces::create(feeder_->fd(), "layer X", bytes_.size(), reports);
    for (std::string* pass : {&first, &second}) {
      for (auto piece = *pieces->next(); !piece.empty(); piece = *pieces->next()) {
        *pass += as_text(piece);
        reports.progress(pass->size());
        if (pass == &first && pass->size() > kFeedBytes) break;
      }
      if (pass != &first) continue;
      EXPECT_TRUE(pieces->restart());
    }
    theirs.reset();
  });
  struct Report {
    std::uint64_t kind;
    std::uint64_t value;
  } report{};
  while (::recv(ours.get(), &report, sizeof(report), 0) > 0) feeder_->heard(report.value);
  child.join();
  EXPECT_TRUE(second == bytes_);
  EXPECT_TRUE(bytes_.starts_with(first));
  EXPECT_TRUE(feeder_->state());
  EXPECT_TRUE(feeder_->judge());
}

TEST_F(BlobFeedTest, NobodyElseCanWriteWhatIsHashed) {
  feed(blob_, bytes_);
  const int fd = feeder_->fd();
  EXPECT_EQ(::mmap(nullptr, kFeedBytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), MAP_FAILED);
  void* const mapped = ::mmap(nullptr, kFeedBytes, PROT_READ, MAP_SHARED, fd, 0);
  ASSERT_NE(mapped, MAP_FAILED);
  EXPECT_NE(::mprotect(mapped, kFeedBytes, PROT_READ | PROT_WRITE), 0);
  EXPECT_NE(::madvise(mapped, kFeedBytes, MADV_REMOVE), 0);
  ::munmap(mapped, kFeedBytes);
  EXPECT_LT(::pwrite(fd, "x", 1, 0), 0);
  EXPECT_NE(::ftruncate(fd, 0), 0);
  EXPECT_NE(::fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096), 0);
}

TEST_F(BlobFeedTest, WhatIsNotAskedForIsHashedToo) {
  feed(blob_, bytes_);
  EXPECT_TRUE(feeder_->judge());
  std::string other = bytes_;
  other.back() ^= 1;
  feed(blob_, other);
  expect_failure("layer X is damaged: its bytes hash to " + digest(bytes_).text());
  // Whatever the child says is done.
  feed(blob_, other);
  for (const std::uint64_t done : {~std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{kBlobBytes}})
    feeder_->heard(done);
  expect_failure("is damaged");
}

// It would be taken over by what it gets first, and make its index of that.
TEST_F(BlobFeedTest, ABlobThatIsAnotherInALaterPass) {
  blob_.bytes()[kFeedPieceBytes + 5] ^= 1;
  feed(blob_, bytes_);
  blob_.bytes() = bytes_;
  feeder_->heard(0);
  expect_failure("layer X changed while it was read");
}

TEST_F(BlobFeedTest, AnEarlierPassIsNotForgottenByAShorterOne) {
  blob_.bytes()[kFeedPieceBytes + 5] ^= 1;
  feed(blob_, bytes_);
  feeder_->heard(kBlobBytes);
  feeder_->heard(kBlobBytes);
  blob_.bytes() = bytes_;
  feeder_->heard(0);
  EXPECT_TRUE(feeder_->state());
  feeder_->heard(0);
  expect_failure("begins again and again");
}

TEST_F(BlobFeedTest, PassesHaveABound) {
  feed(blob_, bytes_);
  for (int i = 0; i < 100; ++i) feeder_->heard(0);
  EXPECT_FALSE(feeder_->state());
  expect_failure("begins again and again");
}

TEST_F(BlobFeedTest, ABlobThatBecomesShorter) {
  blob_.bytes().resize(kFeedPieceBytes);
  feed(blob_, bytes_);
  EXPECT_FALSE(feeder_->state());
  expect_failure("layer X became shorter");
}

}  // namespace
}  // namespace layerboot::layer
