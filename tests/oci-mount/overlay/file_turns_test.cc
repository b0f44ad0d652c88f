// Who waits for whom, on one thread: each step is what another request may do meanwhile.
#include "oci-mount/overlay/file_turns.h"

#include <gtest/gtest.h>

#include <memory>
#include <optional>

namespace layerboot::overlay {
namespace {

class FileTurnsTest : public testing::Test {
 protected:
  FileTurnsTest() {
    file_->type = S_IFREG;
    other_->type = S_IFREG;
  }
  ~FileTurnsTest() override { reactor_->run_until_released(); }

  /// A request that cuts the file, until end_cut().
  void begin_cut() {
    start(turns_.take(*reactor_, file_), [this](FileTurns::Alone alone) { cut_.emplace(std::move(alone)); });
    let_others_go_on();
  }
  void end_cut() {
    {
      const PartLock lock(mutex_);
      cut_->end();
    }
    cut_.reset();
    let_others_go_on();
  }
  void end_change() {
    {
      const PartLock lock(mutex_);
      --file_->file.changing;
      turns_.end_change(*file_);
    }
    let_others_go_on();
  }
  void let_others_go_on() {
    for (int i = 0; i < 3; ++i) reactor_->block_on(a_turn_of_the_reactor());
  }
  struct Posted {
    Reactor& reactor;
    [[nodiscard]] bool await_ready() const noexcept { return false; }
    void await_suspend(std::coroutine_handle<> handle) const {
      reactor.post([handle] { handle.resume(); });
    }
    void await_resume() const noexcept {}
  };
  Task<int> a_turn_of_the_reactor() {
    co_await Posted{*reactor_};
    co_return 0;
  }
  Task<int> wait(FileTurns::Until until) {
    co_await turns_.until(*reactor_, *file_, until);
    co_return 0;
  }

  MemoryBudget memory_;
  OverlayLock mutex_;
  FileTurns turns_{mutex_};
  NodePtr file_ = Node::make(memory_);
  NodePtr other_ = Node::make(memory_);
  std::unique_ptr<Reactor> reactor_ = *Reactor::create();
  std::optional<FileTurns::Alone> cut_;
};

TEST_F(FileTurnsTest, ACutWaitsForThoseThatChangeTheFileAndNobodyBeginsMeanwhile) {
  file_->file.changing = 2;
  begin_cut();
  EXPECT_FALSE(cut_);
  EXPECT_FALSE(FileTurns::may_change(*file_));
  EXPECT_TRUE(FileTurns::may_change(*other_)) << "another file is nobody's business";
  end_change();
  EXPECT_FALSE(cut_);
  end_change();
  ASSERT_TRUE(cut_);
  EXPECT_FALSE(FileTurns::may_change(*file_));
  end_cut();
  EXPECT_TRUE(FileTurns::may_take(*file_));
}

TEST_F(FileTurnsTest, WhoReliesOnBlocksChangesTheFileAsWell) {
  file_->file.blocks.relying = 1;
  EXPECT_FALSE(FileTurns::may_take(*file_));
  begin_cut();
  EXPECT_FALSE(cut_);
  file_->file.blocks.relying = 0;
  turns_.end_change(*file_);
  let_others_go_on();
  ASSERT_TRUE(cut_);
  end_cut();
}

TEST_F(FileTurnsTest, WhoWaitsIsWokenWhenTheFileIsFree) {
  begin_cut();
  ASSERT_TRUE(cut_);
  int woken = 0;
  for (const auto until : {FileTurns::Until::kMayChange, FileTurns::Until::kMayTake})
    start(wait(until), [&woken](int) { ++woken; });
  let_others_go_on();
  EXPECT_EQ(woken, 0);
  end_cut();
  EXPECT_EQ(woken, 2);
}

TEST_F(FileTurnsTest, OneCutComesAfterAnother) {
  begin_cut();
  ASSERT_TRUE(cut_);
  std::optional<FileTurns::Alone> second;
  start(turns_.take(*reactor_, file_),
        [&second](FileTurns::Alone alone) { second.emplace(std::move(alone)); });
  let_others_go_on();
  EXPECT_FALSE(second);
  end_cut();
  ASSERT_TRUE(second);
  EXPECT_FALSE(FileTurns::may_change(*file_));
  second.reset();
  EXPECT_TRUE(FileTurns::may_take(*file_)) << "it ends as it goes";
}

TEST_F(FileTurnsTest, AWriteThatIsAloneTakesItAtOnceOrWaits) {
  EXPECT_TRUE(FileTurns::may_take(*file_));
  FileTurns::take_now(*file_);
  begin_cut();
  EXPECT_FALSE(cut_);
  {
    const PartLock lock(mutex_);
    turns_.end(*file_);
  }
  let_others_go_on();
  ASSERT_TRUE(cut_);
  end_cut();
}

}  // namespace
}  // namespace layerboot::overlay
