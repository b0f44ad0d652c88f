// The power is cut after each step that an operation takes on the host, on each file system that this kernel
// mounts. What was made durable must be there; before that there is the old state or the new, and nothing
// else. See "What a power cut shows" in oci-mount/overlay/DESIGN.md.
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <iostream>
#include <random>
#include <set>
#include <sstream>
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

/// A disk as a cut left it.
struct Cut {
  std::filesystem::path disk;
  std::string when;
};

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

  bool left_out() {
    static const char* const chosen = ::getenv("LAYERBOOT_TEST_CUTS");
    static const bool all = chosen != nullptr && std::string_view(chosen) == "all";
    return !all && commits() == Commits::kAtOnce && random_() % kOneIn != 0;
  }

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

  /// Leaves the disks of all cuts in cuts_; the last one is of after the answer.
  void run(const Operation& operation) {
    cuts_.clear();
    last_digest_.clear();
    ASSERT_TRUE(copy_disk(empty_, disk_));
    auto disk = MountedDisk::mount(type(), disk_, host_);
    ASSERT_TRUE(disk) << disk.error().describe();
    const auto before_step = [&](const HostStep& step) {
      if (commits() == Commits::kAtOnce) {
        EXPECT_TRUE(disk->commit());
      }
      cut(str_cat("before step ", step.number, ", ", name_of(step)));
      return 0;
    };
    const auto answer = run_in_steps(
        [&](StepMarks& marks) -> std::string {
          auto open = OpenUpper::open(options_, host_ / "up");
          if (!open) return open.error().describe();
          for (const auto& act : operation.before) {
            if (const int code = act(*open->driver); code != 0) return str_cat("before: error ", code);
          }
          if (open->sync_all() != 0) return "syncfs";
          marks.begin();
          for (const auto& act : operation.acts) {
            if (const int code = act(*open->driver); code != 0) return str_cat("act: error ", code);
          }
          if (const int code = operation.sync(*open->driver); code != 0) return str_cat("sync: error ", code);
          return {};
        },
        before_step);
    ASSERT_TRUE(answer) << answer.error().describe();
    refused_ = *answer == "act: error 36";  // XFS has no symlinks of more than 1024 bytes
    ASSERT_TRUE(refused_ || answer->empty()) << *answer;
    cuts_.push_back({directory_ / "answered", "after the answer"});
    ASSERT_TRUE(copy_disk(disk_, cuts_.back().disk));
  }

  /// What a start finds after the cut.
  std::string look_at(const Cut& cut) {
    const auto disk = MountedDisk::mount(type(), cut.disk, after_);
    if (!disk) return disk.error().describe();
    const auto seen = run_apart([&] {
      auto open = OpenUpper::open(options_, after_ / "up");
      return open ? open->look() : open.error().describe();
    });
    return seen ? *seen : seen.error().describe();
  }

  void check(const Operation& operation) {
    SCOPED_TRACE(operation.name);
    const auto states = states_of(operation, options_, directory_ / str_cat("model", models_++));
    ASSERT_EQ(states.size(), operation.acts.size() + 1) << (states.empty() ? "" : states.back());
    const auto between = states_between(operation, options_, directory_ / str_cat("between", models_++));
    ASSERT_NO_FATAL_FAILURE(run(operation));
    for (const Cut& cut : cuts_) {
      const bool answered = &cut == &cuts_.back() && !refused_;
      const std::string seen = look_at(cut);
      const bool fits = answered
                            ? seen == states.back()
                            : std::ranges::count(states, seen) > 0 || std::ranges::count(between, seen) > 0;
      EXPECT_TRUE(fits) << operation.name << ": cut " << cut.when << ":\n"
                        << difference(answered ? states.back() : states.front(), seen);
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
  random_.seed(seed);
  const char* const only = ::getenv("LAYERBOOT_TEST_OPERATION");
  for (const auto& operation : all_operations()) {
    if (only == nullptr || operation.name.find(only) != std::string::npos) check(operation);
  }
  std::cout << looked_at_ << " different disks looked at\n";
}

std::string name_of_host(const testing::TestParamInfo<Host>& info) {
  const auto [type, recorded, commits] = info.param;
  return str_cat(name_of(type), recorded ? "_recorded" : "_native",
                 commits == Commits::kAtOnce ? "_committing_at_once" : "_committing_when_asked");
}
INSTANTIATE_TEST_SUITE_P(Hosts, PowerCutTest,
                         testing::Combine(testing::Values(DiskFs::kExt4, DiskFs::kXfs, DiskFs::kBtrfs),
                                          testing::Bool(),
                                          testing::Values(Commits::kWhenAsked, Commits::kAtOnce)),
                         name_of_host);

}  // namespace
}  // namespace layerboot::test
