// Each call that an operation makes on the host fails once. What the session shows then is what a start
// finds, it is the old state or the new, and the client may try again.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <iostream>

#include <sys/syscall.h>

#include "oci-mount/base/str_cat.h"
#include "tests/oci-mount/vfs/upper_operations.h"
#include "tests/support/host_steps.h"
#include "tests/support/temp_dir.h"

namespace layerboot::test {
namespace {

constexpr unsigned kMaxSteps = 200;  // of one operation

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
      if (code != 0 && seen == states_[i]) {
        const int again = operation_.acts[i](*open_.driver);
        if (again != 0) return str_cat("act ", i, " failed by ", code, ", and again by ", again);
      } else if (seen != states_[i + 1]) {
        return str_cat("act ", i, " gave ", code, " and shows\n", difference(states_[i + 1], seen));
      }
    }
    const std::string seen = open_.look();
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
  }

  /// Whether there was such a step to fail.
  bool fail_step(const Operation& operation, const std::vector<std::string>& states, unsigned number,
                 int code) {
    const auto upper = directory_ / str_cat("upper", uppers_++);
    std::string failed;
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
          // The ring is how the process waits, too.
          if (step.number != number || step.call == SYS_io_uring_enter) return 0;
          failed = name_of(step);
          return code;
        });
    EXPECT_TRUE(answer) << answer.error().describe();
    const std::string what =
        str_cat(operation.name, ": step ", number, ", ", failed, ", failed by ", code, ": ");
    const bool as_it_should_be = answer && answer->starts_with("inodes ");
    EXPECT_TRUE(as_it_should_be) << what << *answer;
    if (as_it_should_be) expect_same_after_a_start(upper, states.back(), *answer, what);
    std::filesystem::remove_all(upper);
    return !failed.empty();
  }

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
  OpenUpper::Options options_{.image = directory_ / "image", .index = directory_ / "index"};
  unsigned uppers_ = 0;
};

TEST_P(HostFailureTest, LeavesMemoryAndHostInStep) {
  const char* const only = ::getenv("LAYERBOOT_TEST_OPERATION");
  std::size_t failures = 0;
  for (const auto& operation : all_operations()) {
    if (only != nullptr && operation.name.find(only) == std::string::npos) continue;
    const auto states = states_of(operation, options_, directory_ / str_cat("upper", uppers_++));
    if (states.size() != operation.acts.size() + 1) continue;
    unsigned missing = 0;
    for (unsigned step = 0; step < kMaxSteps && missing < 8; ++step) {
      missing = fail_step(operation, states, step, ENOSPC) ? 0 : missing + 1;
      failures += missing == 0 ? 1 : 0;
    }
  }
  std::cout << failures << " failures of the host\n";
  EXPECT_TRUE(only != nullptr || failures > 100);
}

INSTANTIATE_TEST_SUITE_P(Keepings, HostFailureTest, testing::Bool(),
                         [](const auto& keeping) { return keeping.param ? "recorded" : "native"; });

}  // namespace
}  // namespace layerboot::test
