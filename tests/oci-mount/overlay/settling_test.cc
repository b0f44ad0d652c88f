// Files that the host is brought to allocate, so that what they take is booked.
#include "oci-mount/overlay/settling.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <filesystem>
#include <latch>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "oci-mount/overlay/allocated_range.h"
#include "tests/oci-mount/overlay/objects_fixture.h"

namespace layerboot::overlay {
namespace {

class SettlingTest : public ObjectsTest {
 protected:
  static constexpr std::uint64_t kBytes = 16U << 10;

  void SetUp() override {
    ObjectsTest::SetUp();
    if (parts->ledger.tariff().late_growth(kBytes) == 0)
      GTEST_SKIP() << "this host allocates late no more than what is charged";
  }
  /// One that was written to, and for which the host has allocated as much again since.
  NodePtr grown(const std::string& name) {
    NodePtr node = made(name, kBytes);
    parts->ledger.data_changed(*node, DataChange::kAny);
    const UniqueFd fd(::open(on_host(name).c_str(), O_WRONLY | O_CLOEXEC));
    EXPECT_EQ(::fallocate(fd.get(), 0, kBytes, kBytes), 0);
    return node;
  }
  [[nodiscard]] std::uint64_t on_disk(const std::string& name) {
    return parts->ledger.tariff().object(*stat_at({root_fd(), name.c_str()}));
  }
  Settling& settling() { return parts->settling; }
  /// The same, as a client writes: the host has yet to allocate what finds its extents.
  NodePtr scattered(const std::string& name) {
    NodePtr node = made(name);
    const UniqueFd fd(::open(on_host(name).c_str(), O_WRONLY | O_CLOEXEC));
    for (off_t piece = 0; piece < 6; ++piece) EXPECT_EQ(::pwrite(fd.get(), "piece", 5, piece << 16), 5);
    node->known.valid = false;
    EXPECT_TRUE(objects().attr_of(*node));
    parts->ledger.data_changed(*node, DataChange::kAny);
    return node;
  }
  static constexpr std::size_t kMany = LateFiles::kMostFiles / 2 + 10;
};

/// While it lives, this process can open nothing.
class WithoutDescriptors {
 public:
  WithoutDescriptors() {
    EXPECT_EQ(::getrlimit(RLIMIT_NOFILE, &before_), 0);
    const UniqueFd lowest(::open("/", O_RDONLY | O_CLOEXEC));
    const rlimit none{.rlim_cur = static_cast<rlim_t>(lowest.get()), .rlim_max = before_.rlim_max};
    EXPECT_EQ(::setrlimit(RLIMIT_NOFILE, &none), 0);
  }
  WithoutDescriptors(const WithoutDescriptors&) = delete;
  WithoutDescriptors& operator=(const WithoutDescriptors&) = delete;
  ~WithoutDescriptors() { EXPECT_EQ(::setrlimit(RLIMIT_NOFILE, &before_), 0); }

 private:
  rlimit before_{};
};

/// While it lives, the one worker does nothing.
class WithoutWorker {
 public:
  explicit WithoutWorker(WorkerPool& workers) {
    workers.submit([go_on = go_on_] { go_on->wait(); });
  }
  WithoutWorker(const WithoutWorker&) = delete;
  WithoutWorker& operator=(const WithoutWorker&) = delete;
  ~WithoutWorker() { go_on_->count_down(); }

 private:
  std::shared_ptr<std::latch> go_on_ = std::make_shared<std::latch>(1);
};

TEST_F(SettlingTest, WhatAFileHasGrownByIsBooked) {
  const NodePtr file = grown("file");
  const auto before = usage().bytes;
  auto taken = settling().take_all();
  ASSERT_EQ(taken.pins().size(), 1U);
  EXPECT_EQ(usage().bytes, before) << "the host is not asked yet";
  settling().settle(std::move(taken));
  EXPECT_EQ(usage().bytes, before + kBytes);
  EXPECT_EQ(file->charge.bytes, on_disk("file"));
  EXPECT_FALSE(file->charge.grows_late);
  EXPECT_EQ(file->holders.pins, 0U);
  EXPECT_TRUE(settling().take_all().pins().empty());
}

TEST_F(SettlingTest, OneThatIsWrittenToMeanwhileIsLookedAtAgain) {
  const NodePtr file = grown("file");
  auto taken = settling().take_all();
  parts->ledger.data_changed(*file, DataChange::kAny);
  settling().settle(std::move(taken));
  EXPECT_TRUE(file->charge.grows_late);
  EXPECT_EQ(settling().take_all().pins().size(), 1U);
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
  ASSERT_EQ(taken.pins().size(), 1U);
  EXPECT_EQ(taken.pins().front().node(), held);
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

TEST_F(SettlingTest, WhatCameToNothingIsListedAgain) {
  const NodePtr file = grown("file");
  {
    const auto dropped = settling().take_all();
  }
  EXPECT_TRUE(file->charge.is_listed);
  forget(file);
  std::filesystem::rename(on_host("file"), on_host("elsewhere"));
  parts->places.drop_fd(*file);
  settling().settle(settling().take_all());
  EXPECT_TRUE(file->charge.is_listed) << "the host was asked in vain";
  EXPECT_EQ(parts->nodes.known(file->id), file);
  std::filesystem::rename(on_host("elsewhere"), on_host("file"));
  settling().settle(settling().take_all());
  EXPECT_EQ(parts->nodes.known(file->id), nullptr);
}

/// A file that has lost one of its names is not found by the others before it is settled.
TEST_F(SettlingTest, OneThatHasOtherNamesIsInMemoryUntilThen) {
  const NodePtr file = grown("file");
  ASSERT_TRUE(link_at({root_fd(), "file"}, {root_fd(), "other"}));
  move_to_work(file);
  const auto before = usage().bytes;
  forget(file);
  ASSERT_EQ(parts->nodes.known(file->id), file);
  EXPECT_EQ(work_names().size(), 1U);
  settling().settle(settling().take_all());
  EXPECT_EQ(usage().bytes, before + kBytes);
  EXPECT_EQ(parts->nodes.known(file->id), nullptr);
  EXPECT_TRUE(work_names().empty());
  EXPECT_TRUE(parts->ledger.late_growth().all().empty());
}

TEST_F(SettlingTest, NoMoreThanAreListedAreInMemoryForIt) {
  constexpr std::size_t kFiles = LateFiles::kMostKept + 100;
  for (std::size_t i = 0; i < kFiles; ++i) forget(grown("file" + std::to_string(i)));
  EXPECT_LE(parts->nodes.all().size(), LateFiles::kMostKept + 2);
  EXPECT_GE(parts->ledger.late_growth().all().size(), kFiles - LateFiles::kMostKept - 1) << "remembered";
}

TEST_F(SettlingTest, WithoutDescriptorsTheyAreBroughtToTheDiskAllTheSame) {
  std::vector<NodePtr> files;
  for (std::size_t i = 0; i < kMany; ++i) files.push_back(scattered("file" + std::to_string(i)));
  parts->places.drop_all_fds();
  {
    // UBSan takes a pipe to look whether an object with virtual functions, as this test, is one.
    Settling& at_work = settling();
    const WithoutDescriptors none;
    at_work.keep_up();
    at_work.finish();
  }
  EXPECT_FALSE(files.front()->charge.grows_late);
  const UniqueFd fd(::open(on_host("file0").c_str(), O_RDONLY | O_CLOEXEC));
  ASSERT_EQ(::fsync(fd.get()), 0);
  EXPECT_EQ(files.front()->charge.bytes, on_disk("file0"));
}

TEST_F(SettlingTest, WhoWritesWaitsForAWorkerAndNotAtTheHost) {
  std::vector<NodePtr> files;
  while (settling().has_room()) files.push_back(grown("file" + std::to_string(files.size())));
  const auto reactor = *Reactor::create();
  const auto write = [&]() -> Task<Result<void>> {
    co_await settling().room(*reactor);
    co_return Result<void>();
  };
  bool has_room = false;
  {
    const WithoutWorker none(image.workers);
    settling().keep_up();
    EXPECT_TRUE(files.front()->charge.is_listed) << "this thread does nothing of it";
    start(write(), [&](const Result<void>&) {
      has_room = true;
      reactor->stop();
    });
    EXPECT_FALSE(has_room);
  }
  reactor->run();
  EXPECT_TRUE(has_room);
  EXPECT_TRUE(settling().has_room());
  settling().finish();
  EXPECT_TRUE(reactor->block_on(write())) << "waits for nothing";
}

/// Where the host can't be brought to it, who writes does not wait for ever.
TEST_F(SettlingTest, NobodyWaitsForWhatComesToNothing) {
  std::vector<NodePtr> files;
  while (settling().has_room()) files.push_back(grown("file" + std::to_string(files.size())));
  for (const auto& file : files) std::filesystem::remove(on_host(file->name));
  parts->places.drop_all_fds();
  const auto reactor = *Reactor::create();
  const auto write = [&]() -> Task<Result<void>> {
    co_await settling().room(*reactor);
    co_return Result<void>();
  };
  EXPECT_TRUE(reactor->block_on(write()));
  EXPECT_FALSE(settling().has_room());
  EXPECT_TRUE(files.back()->charge.is_listed);
  settling().finish();
}

/// Then who writes within it makes the host allocate nothing late.
TEST_F(SettlingTest, AFileThatIsWrittenOutIsKnownToHaveAllOfItWritten) {
  std::vector<NodePtr> files;
  for (std::size_t i = 0; i < kMany; ++i) {
    files.push_back(i % 2 == 0 ? scattered("file" + std::to_string(i)) : grown("file" + std::to_string(i)));
  }
  settling().keep_up();
  settling().finish();
  // XFS may have blocks between the written ones that it has allocated ahead.
  const UniqueFd fd(::open(on_host("file0").c_str(), O_RDONLY | O_CLOEXEC));
  const auto unwritten = first_unwritten(fd.get());
  EXPECT_EQ(files[0]->file.is_written,
            unwritten && *unwritten >= std::filesystem::file_size(on_host("file0")));
  EXPECT_FALSE(files[1]->file.is_written) << "it was preallocated";
}

}  // namespace
}  // namespace layerboot::overlay
