// The power is cut after each step that an operation takes on the host, on each file system that this kernel
// mounts. What was made durable must be there; before that there is the old state or the new, and nothing
// else. See "What a power cut shows" in oci-mount/overlay/DESIGN.md.
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <functional>
#include <iostream>
#include <random>
#include <tuple>

#include "oci-mount/base/str_cat.h"
#include "tests/oci-mount/vfs/upper_operations.h"
#include "tests/support/host_steps.h"
#include "tests/support/power_disk.h"
#include "tests/support/temp_dir.h"

namespace layerboot::test {
namespace {

/// When the host's file system writes its journal: never unless asked to, or before every step.
enum class Commits { kWhenAsked, kAtOnce };

using Host = std::tuple<DiskFs, bool, Commits>;

/// Where every step is committed there are hundreds of different disks: of those one in so many is looked at,
/// unless LAYERBOOT_TEST_CUTS is "all".
constexpr unsigned kOneIn = 8;
/// And so are operations: each kind of host has others of them.
constexpr unsigned kOneOperationIn = 2;

/// A disk as a cut left it.
struct Cut {
  std::filesystem::path disk;
  std::string when;
};

using Work = std::function<std::string(StepMarks&)>;  // "", or what has gone wrong

class PowerCutTest : public testing::TestWithParam<Host> {
 protected:
  [[nodiscard]] static DiskFs type() { return std::get<0>(GetParam()); }
  [[nodiscard]] static bool recorded() { return std::get<1>(GetParam()); }
  [[nodiscard]] static Commits commits() { return std::get<2>(GetParam()); }

  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "disks are mounted by root";
    if (const auto made = make_disk(type(), empty_); !made) GTEST_SKIP() << made.error().describe();
    if (const auto disk = MountedDisk::mount(type(), empty_, host_); !disk) {
      GTEST_SKIP() << disk.error().describe();
    }
    make_operations_image(options_.image);
    options_.recorded = recorded();
  }

  static bool all_cuts() {
    const char* const chosen = ::getenv("LAYERBOOT_TEST_CUTS");
    return chosen != nullptr && std::string_view(chosen) == "all";
  }
  bool left_out() { return !all_cuts() && commits() == Commits::kAtOnce && random_() % kOneIn != 0; }

  /// Copies the disk, unless it is left out or nothing has come to it since the last time.
  void cut(const std::string& when) {
    if (left_out()) return;
    const auto digest = digest_of_disk(disk_);
    ASSERT_TRUE(digest);
    if (*digest == last_digest_) return;
    last_digest_ = *digest;
    cuts_.push_back({directory_ / str_cat("cut", cuts_.size()), when});
    ASSERT_TRUE(copy_disk(disk_, cuts_.back().disk));
  }

  /// Leaves the disks of all cuts in cuts_; the last one is of after the answer. `earlier`: sessions before
  /// that one, on the same disk.
  void cut_through(const Work& work, const std::function<std::string()>& earlier = {}) {
    cuts_.clear();
    last_digest_.clear();
    ASSERT_TRUE(copy_disk(empty_, disk_));
    auto disk = MountedDisk::mount(type(), disk_, host_);
    ASSERT_TRUE(disk) << disk.error().describe();
    if (earlier) {
      const auto done = run_apart(earlier);
      ASSERT_TRUE(done && done->empty()) << (done ? *done : done.error().describe());
      ASSERT_TRUE(disk->commit());
    }
    const auto before_step = [&](const HostStep& step) {
      if (commits() == Commits::kAtOnce) {
        EXPECT_TRUE(disk->commit());
      }
      cut(str_cat("before step ", step.number, ", ", name_of(step)));
      return 0;
    };
    const auto answer = run_in_steps(work, before_step);
    ASSERT_TRUE(answer) << answer.error().describe();
    refused_ = *answer == "act: error 36";  // XFS has no symlinks of more than 1024 bytes
    ASSERT_TRUE(refused_ || answer->empty()) << *answer;
    cuts_.push_back({directory_ / "answered", "after the answer"});
    ASSERT_TRUE(copy_disk(disk_, cuts_.back().disk));
  }

  /// In a session that goes on, and durable.
  Result<OpenUpper> open_with(const std::vector<Act>& acts) {
    LB_ASSIGN(auto open, OpenUpper::open(options_, host_ / "up"));
    if (const auto wrong = do_all(open, acts); !wrong.empty()) return fail(EIO, wrong);
    if (open.sync_all() != 0) return fail(EIO, "syncfs");
    return open;
  }

  void run(const Operation& operation) {
    cut_through([&](StepMarks& marks) -> std::string {
      auto open = open_with(operation.before);
      if (!open) return str_cat("before: ", open.error().describe());
      marks.begin();
      if (auto wrong = do_all(*open, operation.acts); !wrong.empty()) return str_cat("act: ", wrong);
      const int code = operation.sync(*open->driver);
      return code == 0 ? std::string() : str_cat("sync: error ", code);
    });
  }

  /// What a start finds after the cut; and that it counts what is there.
  std::string look_at(const Cut& cut) {
    const auto disk = MountedDisk::mount(type(), cut.disk, after_);
    if (!disk) return disk.error().describe();
    const auto seen = run_apart([&] {
      auto open = OpenUpper::open(options_, after_ / "up");
      return open ? str_cat(open->look(), open->miscounted(after_ / "up")) : open.error().describe();
    });
    return seen ? *seen : seen.error().describe();
  }

  void check(const Operation& operation) {
    SCOPED_TRACE(operation.name);
    const auto states = states_of(operation, options_, directory_ / str_cat("model", models_++));
    ASSERT_EQ(states.size(), operation.acts.size() + 1) << (states.empty() ? "" : states.back());
    const auto between = states_between(operation, options_, directory_ / str_cat("between", models_++));
    ASSERT_NO_FATAL_FAILURE(run(operation));
    expect_states(states, between);
  }

  /// Each cut shows one of the states, a later one none of before; the last one all.
  void expect_states(const std::vector<std::string>& states, const std::vector<std::string>& between) {
    std::size_t reached = 0;
    for (const Cut& cut : cuts_) {
      const bool answered = &cut == &cuts_.back() && !refused_;
      const std::string seen = look_at(cut);
      const auto from = states.begin() + static_cast<std::ptrdiff_t>(reached);
      const auto at = std::find(answered ? states.end() - 1 : from, states.end(), seen);
      if (at != states.end()) reached = static_cast<std::size_t>(at - states.begin());
      const bool fits = at != states.end() || (!answered && std::ranges::count(between, seen) > 0);
      EXPECT_TRUE(fits) << "cut " << cut.when << ", against state " << reached << ":\n"
                        << difference(answered ? states.back() : states[reached], seen);
      std::filesystem::remove(cut.disk);
    }
    looked_at_ += cuts_.size();
  }

  TempDir directory_;
  std::filesystem::path empty_ = directory_ / "empty.img";
  std::filesystem::path disk_ = directory_ / "disk.img";
  std::filesystem::path host_ = directory_ / "host";
  std::filesystem::path after_ = directory_ / "after";
  OpenUpper::Options options_{.image = directory_ / "image", .index = directory_ / "index"};
  std::vector<Cut> cuts_;
  std::string last_digest_;
  std::mt19937 random_;
  bool refused_ = false;
  unsigned models_ = 0;
  std::size_t looked_at_ = 0;
};

TEST_P(PowerCutTest, ShowsTheOldOrTheNewAndWhatWasMadeDurable) {
  const char* const chosen = ::getenv("LAYERBOOT_TEST_SEED");
  const auto seed = static_cast<unsigned>(chosen != nullptr ? std::strtoul(chosen, nullptr, 10) : 20261129);
  std::cout << "seed " << seed << " (LAYERBOOT_TEST_SEED)\n";
  random_.seed(seed + 4 * static_cast<unsigned>(type()) + 2 * static_cast<unsigned>(recorded()) +
               static_cast<unsigned>(commits()));
  const char* const only = ::getenv("LAYERBOOT_TEST_OPERATION");
  for (const auto& operation : all_operations()) {
    const bool is_chosen = only != nullptr ? operation.name.find(only) != std::string::npos
                                           : all_cuts() || random_() % kOneOperationIn == 0;
    if (is_chosen) check(operation);
  }
  std::cout << looked_at_ << " different disks looked at\n";
}

std::vector<Act> acts_of(std::string_view name) {
  for (const auto& operation : all_operations()) {
    if (operation.name == name) return operation.acts;
  }
  ADD_FAILURE() << "no operation " << name;
  return {};
}

/// A session of all that a stop has to note: a directory of the image that has moved, names of one file,
/// files that the host allocates late, whiteouts.
std::vector<Act> acts_of_a_session() {
  std::vector<Act> acts;
  for (const char* name : {"rename of a directory", "first write of one of three names, fdatasync", "rmdir",
                           "link", "create, write, fsync"}) {
    std::ranges::copy(acts_of(name), std::back_inserter(acts));
  }
  return acts;
}

class StartAndStopTest : public PowerCutTest {
 protected:
  void SetUp() override {
    PowerCutTest::SetUp();
    if (IsSkipped()) return;
    states_ = states_of({"a session", {}, acts_of_a_session(), {}}, options_, directory_ / "model");
    ASSERT_EQ(states_.size(), acts_of_a_session().size() + 1);
  }
  /// A start, and what comes next.
  Work start(const std::vector<Act>& acts = {}) {
    return [this, acts](StepMarks& marks) -> std::string {
      marks.begin();
      auto open = OpenUpper::open(options_, host_ / "up");
      if (!open) return open.error().describe();
      if (auto wrong = do_all(*open, acts); !wrong.empty()) return wrong;
      return acts.empty() || open->sync_all() == 0 ? "" : "syncfs";
    };
  }
  enum class Ends { kInOrder, kKilled };
  std::function<std::string()> session(Ends ends) {
    return [this, ends]() -> std::string {
      auto open = open_with(acts_of_a_session());
      if (!open) return open.error().describe();
      return ends == Ends::kInOrder ? open->stop() : std::string();
    };
  }

  std::vector<std::string> states_;  // before the session's acts, and after each
};

TEST_P(StartAndStopTest, TheFirstStart) {
  ASSERT_NO_FATAL_FAILURE(cut_through(start()));
  expect_states({states_.front()}, {});
}

TEST_P(StartAndStopTest, AStartAfterAStop) {
  ASSERT_NO_FATAL_FAILURE(cut_through(start(), session(Ends::kInOrder)));
  expect_states({states_.back()}, {});
}

TEST_P(StartAndStopTest, AStartAfterAKill) {
  ASSERT_NO_FATAL_FAILURE(cut_through(start(), session(Ends::kKilled)));
  expect_states({states_.back()}, {});
}

TEST_P(StartAndStopTest, WhatAStopHasNotedIsNoMoreWithAnythingNew) {
  const auto more = acts_of("mkdir, create in it, fsync");
  auto all = acts_of_a_session();
  std::ranges::copy(more, std::back_inserter(all));
  const auto with_more = states_of({"more", {}, all, {}}, options_, directory_ / "with_more");
  ASSERT_EQ(with_more.size(), all.size() + 1);
  ASSERT_NO_FATAL_FAILURE(cut_through(start(more), session(Ends::kInOrder)));
  expect_states({with_more.begin() + static_cast<std::ptrdiff_t>(states_.size() - 1), with_more.end()}, {});
}

TEST_P(StartAndStopTest, AStop) {
  ASSERT_NO_FATAL_FAILURE(cut_through([&](StepMarks& marks) -> std::string {
    auto open = open_with(acts_of_a_session());
    if (!open) return open.error().describe();
    marks.begin();
    return open->stop();
  }));
  expect_states({states_.back()}, {});
}

std::string name_of_host(const testing::TestParamInfo<Host>& info) {
  const auto [type, recorded, commits] = info.param;
  return str_cat(name_of(type), recorded ? "_recorded" : "_native",
                 commits == Commits::kAtOnce ? "_committing_at_once" : "_committing_when_asked");
}
const auto kHosts = testing::Combine(testing::Values(DiskFs::kExt4, DiskFs::kXfs, DiskFs::kBtrfs),
                                     testing::Bool(), testing::Values(Commits::kWhenAsked, Commits::kAtOnce));
INSTANTIATE_TEST_SUITE_P(Hosts, PowerCutTest, kHosts, name_of_host);
INSTANTIATE_TEST_SUITE_P(Hosts, StartAndStopTest, kHosts, name_of_host);

}  // namespace
}  // namespace layerboot::test