#include "launcher/supervise/janitor.h"

#include <gtest/gtest.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>

#include "launcher/vm/vm_directory.h"
#include "tests/launcher/scratch_dir.h"

namespace layerboot::launcher {
namespace {

namespace fs = std::filesystem;

class JanitorTest : public testing::Test {
 protected:
  JanitorTest() {
    // The janitor of a launcher that has ended becomes ours, and its end can be waited for.
    ::prctl(PR_SET_CHILD_SUBREAPER, 1);
    fs::create_directories(paths_.state);
    std::ofstream(paths_.state / "lock") << "";
    fs::create_directories(paths_.runtime);
    std::ofstream(paths_.control_socket()) << "";
  }
  ~JanitorTest() override { ::prctl(PR_SET_CHILD_SUBREAPER, 0); }

  /// What a launcher's janitor does when the launcher is killed, after `meanwhile`.
  template <typename Meanwhile>
  void clean_after(const Meanwhile& meanwhile) const {
    const pid_t launcher = ::fork();
    if (launcher == 0) {
      const auto janitor = Janitor::start(paths_, {});
      meanwhile();
      ::_exit(janitor ? 0 : 1);
    }
    int status = 0;
    EXPECT_EQ(::waitpid(launcher, &status, 0), launcher);
    EXPECT_EQ(status, 0);
    EXPECT_GT(::wait(&status), 0);
  }

  ScratchDir scratch_;
  StateDirs dirs_{.data = scratch_.path() / "data",
                  .cache = scratch_.path() / "cache",
                  .runtime = scratch_.path() / "run"};
  VmPaths paths_{dirs_, "a"};
};

TEST_F(JanitorTest, RemovesWhatAKilledLauncherLeft) {
  clean_after([] {});
  EXPECT_FALSE(fs::exists(paths_.runtime));
}

TEST_F(JanitorTest, LeavesAloneWhatIsAnotherVms) {
  clean_after([this] { fs::rename(paths_.state, dirs_.vms() / "b"); });
  EXPECT_TRUE(fs::exists(paths_.control_socket())) << "the VM was renamed, and a new one may have its name";
}

}  // namespace
}  // namespace layerboot::launcher
