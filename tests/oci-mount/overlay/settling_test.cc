// Files that the host is brought to allocate, so that what they take is booked.
#include "oci-mount/overlay/settling.h"

#include <fcntl.h>
#include <unistd.h>

#include <string>
#include <utility>
#include <vector>

#include "tests/oci-mount/overlay/objects_fixture.h"

namespace layerboot::overlay {
namespace {

class SettlingTest : public ObjectsTest {
 protected:
  static constexpr std::uint64_t kBytes = 16U << 10;

  void SetUp() override {
    ObjectsTest::SetUp();
    if (!parts->ledger.tariff().changes_late(kBytes)) GTEST_SKIP() << "this host allocates all at once";
  }
  /// One that was written to, and for which the host has allocated as much again since.
  NodePtr grown(const std::string& name) {
    NodePtr node = made(name, kBytes);
    parts->ledger.grow_late(*node);
    const UniqueFd fd(::open(on_host(name).c_str(), O_WRONLY | O_CLOEXEC));
    EXPECT_EQ(::fallocate(fd.get(), 0, kBytes, kBytes), 0);
    return node;
  }
  [[nodiscard]] std::uint64_t on_disk(const std::string& name) {
    return parts->ledger.tariff().object(*stat_at({root_fd(), name.c_str()}));
  }
  Settling& settling() { return parts->settling; }
};

TEST_F(SettlingTest, WhatAFileHasGrownByIsBooked) {
  const NodePtr file = grown("file");
  const auto before = usage().bytes;
  auto taken = settling().take_all();
  ASSERT_EQ(taken.size(), 1U);
  EXPECT_EQ(usage().bytes, before) << "the host is not asked yet";
  settling().settle(std::move(taken));
  EXPECT_EQ(usage().bytes, before + kBytes);
  EXPECT_EQ(file->charge.bytes, on_disk("file"));
  EXPECT_FALSE(file->charge.grows_late);
  EXPECT_EQ(file->holders.pins, 0U);
  EXPECT_TRUE(settling().take_all().empty());
}

TEST_F(SettlingTest, OneThatIsWrittenToMeanwhileIsLookedAtAgain) {
  const NodePtr file = grown("file");
  auto taken = settling().take_all();
  parts->ledger.grow_late(*file);
  settling().settle(std::move(taken));
  EXPECT_TRUE(file->charge.grows_late);
  EXPECT_EQ(settling().take_all().size(), 1U);
}

TEST_F(SettlingTest, AForgottenOneIsInMemoryUntilThen) {
  const NodePtr file = grown("file");
  const auto before = usage().bytes;
  forget(file);
  EXPECT_EQ(parts->nodes.known(file->id), file);
  settling().settle(settling().take_all());
  EXPECT_EQ(usage().bytes, before + kBytes);
  EXPECT_EQ(parts->nodes.known(file->id), nullptr);
  EXPECT_TRUE(parts->ledger.late_growth().all().empty()) << "there is nothing to remember";
}

TEST_F(SettlingTest, OneThatIsUnlinkedGoesAtOnce) {
  const NodePtr file = grown("file");
  const NodePtr held = grown("held");
  move_to_work(file);
  forget(file);
  EXPECT_TRUE(file->is_gone());
  auto taken = settling().take_all();
  ASSERT_EQ(taken.size(), 1U);
  EXPECT_EQ(taken.front().node(), held);
  move_to_work(held);
  forget(held);
  settling().settle(std::move(taken));
  EXPECT_TRUE(held->is_gone()) << "while it was at the host";
  EXPECT_TRUE(work_names().empty());
}

TEST_F(SettlingTest, TooManyAreBroughtToTheDiskByAWorker) {
  constexpr std::size_t kFiles = LateFiles::kMostFiles / 2 + 10;
  std::vector<NodePtr> files;
  for (std::size_t i = 0; i < kFiles; ++i) files.push_back(grown("file" + std::to_string(i)));
  const auto before = usage().bytes;
  ASSERT_EQ(parts->ledger.late_fill(), LateFiles::Fill::kMuch);
  settling().keep_up();
  settling().finish();
  EXPECT_EQ(parts->ledger.late_fill(), LateFiles::Fill::kLittle);
  EXPECT_GT(usage().bytes, before);
  EXPECT_EQ(files.front()->charge.bytes, on_disk("file0")) << "the oldest first";
  EXPECT_TRUE(files.back()->charge.grows_late);
  settling().settle(settling().take_all());
  EXPECT_EQ(usage().bytes, before + kFiles * kBytes);
}

TEST_F(SettlingTest, AFewAreLeftToTheHost) {
  const NodePtr file = grown("file");
  settling().keep_up();
  settling().finish();
  EXPECT_TRUE(file->charge.is_listed);
}

}  // namespace
}  // namespace layerboot::overlay
