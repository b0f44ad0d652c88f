// Each call that an operation makes on the host fails once: for want of space those that change something,
// and for other reasons also those that only look. What the session shows then is what a start finds, it is
// the old state or the new, and the client may try again.
#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <iostream>
#include <map>

#include <sys/syscall.h>
#include <sys/xattr.h>

#include "oci-mount/base/str_cat.h"
#include "tests/oci-mount/vfs/host_disk.h"
#include "tests/oci-mount/vfs/upper_operations.h"
#include "tests/support/host_steps.h"
#include "tests/support/temp_dir.h"

namespace layerboot::test {
namespace {

constexpr unsigned kMaxSteps = 400;  // of one operation
/// The same calls are made by many operations: one in so many is tried, others on the other kind of upper,
/// and of those that fail for other reasons than space one in more; unless LAYERBOOT_TEST_FAILURES is "all".
constexpr unsigned kOneForSpaceIn = 4;
constexpr unsigned kOneIn = 16;

/// What may be amiss beside space. `number` chooses, so that each comes at each kind of call.
int reason_for(const HostStep& step, unsigned number) {
  constexpr std::array kOfChanges = {EIO, EDQUOT, ENOMEM, EACCES};
  constexpr std::array kOfOpens = {EMFILE, EIO, ENFILE, ENOMEM, EACCES};
  constexpr std::array kOfLooks = {EIO, ENOMEM};
  if (step.call == SYS_openat2 || step.call == SYS_openat) return kOfOpens[number % kOfOpens.size()];
  return step.changes ? kOfChanges[number % kOfChanges.size()] : kOfLooks[number % kOfLooks.size()];
}

/// Goes through the acts, each once more where it failed: from then on the host does what it is asked.
class Session {
 public:
  Session(const Operation& operation, const std::vector<std::string>& states, OpenUpper& open)
      : operation_(operation), states_(states), open_(open) {}

  /// "" where all was as it should be.
  std::string run(StepMarks& marks) {
    for (std::size_t i = 0; i < operation_.acts.size(); ++i) {
      marks.begin();
      const int code = operation_.acts[i](*open_.driver);
      marks.end();
      if (code == ENAMETOOLONG) return {};
      const std::string seen = open_.look();
      if (code != 0 && (seen == states_[i] || seen == states_[i + 1])) {
        // The client may ask again. What was made and yet gave an error would say now that it is there.
        const int again = operation_.acts[i](*open_.driver);
        if (again != 0) return str_cat("act ", i, " failed by ", code, ", and again by ", again);
      } else if (seen != states_[i + 1]) {
        return str_cat("act ", i, " gave ", code, " and shows\n", difference(states_[i + 1], seen));
      }
    }
    const std::string seen = open_.look();
    for (const auto& act : operation_.end) act(*open_.driver);
    if (seen != states_.back()) return "in the end there is\n" + difference(states_.back(), seen);
    return {};
  }

 private:
  const Operation& operation_;
  const std::vector<std::string>& states_;
  OpenUpper& open_;
};

class HostFailureTest : public testing::TestWithParam<bool> {
 protected:
  void SetUp() override {
    if (!GetParam() && ::geteuid() != 0) GTEST_SKIP() << "only root has native uppers";
    make_operations_image(options_.image);
    options_.recorded = GetParam();
    uppers_in_ = uppers();
  }

  using Reason = std::function<int(const HostStep&)>;

  /// Whether there was such a step to fail.
  bool fail_step(const Operation& operation, const std::vector<std::string>& states, unsigned number,
                 Stops stops, const Reason& reason) {
    const auto upper = uppers_in_ / str_cat("upper", uppers_++);
    std::string failed;
    int code = 0;
    const auto answer = run_in_steps(
        [&](StepMarks& marks) -> std::string {
          auto open = OpenUpper::open(options_, upper);
          if (!open) return open.error().describe();
          for (const auto& act : operation.before) {
            if (const int error = act(*open->driver); error != 0) return str_cat("before: error ", error);
          }
          std::string said = Session(operation, states, *open).run(marks);
          if (!said.empty()) return said;
          return str_cat("inodes ", open->fs->statfs()->inodes_free);
        },
        [&](const HostStep& step) {
          if (step.number != number || !may_fail(step)) return 0;
          failed = name_of(step);
          code = reason(step);
          ++failures_[str_cat(failed, " ", ::strerrorname_np(code))];
          return code;
        },
        stops);
    EXPECT_TRUE(answer) << answer.error().describe();
    const std::string what =
        str_cat(operation.name, ": step ", number, ", ", failed, ", failed by ", code, ": ");
    const bool as_it_should_be = answer && answer->starts_with("inodes ");
    EXPECT_TRUE(as_it_should_be) << what << *answer;
    if (as_it_should_be) expect_same_after_a_start(upper, states.back(), *answer, what);
    std::filesystem::remove_all(upper);
    return !failed.empty();
  }

  static bool may_fail(const HostStep& step) {
    // The ring is how the process waits, too; what close(2) says changes nothing.
    return is_about_files(step) && step.call != SYS_io_uring_enter && step.call != SYS_close;
  }
  /// In memory, where syncs cost nothing, unless that keeps no user.* attributes (before Linux 6.6).
  [[nodiscard]] std::filesystem::path uppers() const {
    const bool fits = disk_.mounted() && ::setxattr(disk_.path().c_str(), "user.try", "", 0, 0) == 0;
    return fits ? disk_.path() : directory_.path();
  }
  void fail_steps(Stops stops, unsigned one_in, const std::function<int(const HostStep&, unsigned)>& reason);

  void expect_same_after_a_start(const std::filesystem::path& upper, const std::string& state,
                                 const std::string& inodes, const std::string& what) {
    const auto seen = run_apart([&] {
      auto open = OpenUpper::open(options_, upper);
      if (!open) return open.error().describe();
      const std::string text = open->look();
      return text + str_cat("inodes ", open->fs->statfs()->inodes_free);
    });
    ASSERT_TRUE(seen);
    EXPECT_EQ(difference(state + inodes + "\n", *seen), "") << what << "after a start";
  }

  TempDir directory_;
  HostDisk disk_{"tmpfs"};
  OpenUpper::Options options_{.image = directory_ / "image", .index = directory_ / "index"};
  std::filesystem::path uppers_in_;
  unsigned uppers_ = 0;
  std::map<std::string, unsigned> failures_;  // by call and reason
};

void HostFailureTest::fail_steps(Stops stops, unsigned one_in,
                                 const std::function<int(const HostStep&, unsigned)>& reason) {
  const char* const only = ::getenv("LAYERBOOT_TEST_OPERATION");
  const char* const chosen = ::getenv("LAYERBOOT_TEST_FAILURES");
  if (chosen != nullptr && std::string_view(chosen) == "all") one_in = 1;
  std::size_t tried = 0;
  unsigned round = GetParam() ? 1 : 0;
  for (const auto& operation : all_operations()) {
    ++round;
    if (only != nullptr && operation.name.find(only) == std::string::npos) continue;
    const auto states = states_of(operation, options_, uppers_in_ / str_cat("upper", uppers_++));
    if (states.size() != operation.acts.size() + 1) continue;
    unsigned missing = 0;
    for (unsigned step = round % one_in; step < kMaxSteps && missing < 8; step += one_in) {
      const auto why = [&](const HostStep& at) { return reason(at, round + step / one_in); };
      const bool failed = fail_step(operation, states, step, stops, why);
      missing = failed ? 0 : missing + 1;
      tried += failed ? 1 : 0;
    }
  }
  std::cout << tried << " failures of the host\n";
  for (const auto& [what, count] : failures_) std::cout << "  " << what << ": " << count << "\n";
  EXPECT_TRUE(only != nullptr || tried > 100);
}

TEST_P(HostFailureTest, LeavesMemoryAndHostInStep) {
  fail_steps(Stops::kChanges, kOneForSpaceIn, [](const HostStep&, unsigned) { return ENOSPC; });
}

TEST_P(HostFailureTest, ReplacesAFileThatHasTheMostLinksOfTheHost) {
  for (const auto& operation : all_operations()) {
    if (!operation.name.starts_with("rename over what is held")) continue;
    const auto states = states_of(operation, options_, uppers_in_ / "states");
    const auto upper = uppers_in_ / "full";
    unsigned refused = 0;
    const auto answer = run_in_steps(
        [&](StepMarks& marks) -> std::string {
          auto open = OpenUpper::open(options_, upper);
          if (!open) return open.error().describe();
          for (const auto& act : operation.before) act(*open->driver);
          marks.begin();
          const int code = operation.acts.front()(*open->driver);
          marks.end();
          return code != 0 ? str_cat("error ", code) : open->look();
        },
        [&](const HostStep& step) {
          if (step.call != SYS_linkat) return 0;
          ++refused;
          return EMLINK;
        });
    ASSERT_TRUE(answer) << answer.error().describe();
    EXPECT_EQ(difference(states.back(), *answer), "");
    EXPECT_GT(refused, 0U);
  }
}

TEST_P(HostFailureTest, LeavesThemInStepForWhateverReason) { fail_steps(Stops::kAll, kOneIn, reason_for); }

INSTANTIATE_TEST_SUITE_P(Keepings, HostFailureTest, testing::Bool(),
                         [](const auto& keeping) { return keeping.param ? "recorded" : "native"; });

}  // namespace
}  // namespace layerboot::test
