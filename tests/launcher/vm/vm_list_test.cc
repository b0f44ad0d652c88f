#include "launcher/vm/vm_list.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <thread>

#include "launcher/host/unix_socket.h"
#include "tests/launcher/scratch_dir.h"

namespace layerboot::launcher {
namespace {

using std::chrono::milliseconds;

class SupervisorOf : public testing::Test {
 protected:
  ScratchDir scratch_;
  StateDirs dirs_{.data = scratch_.path() / "data",
                  .cache = scratch_.path() / "cache",
                  .runtime = scratch_.path() / "run"};
  VmPaths paths_{dirs_, "web"};
};

TEST_F(SupervisorOf, IsNobodyWhereNobodyHoldsTheVm) {
  const auto nobody = supervisor_of(paths_);
  ASSERT_TRUE(nobody) << nobody.error().describe();
  EXPECT_FALSE(*nobody);
}

TEST_F(SupervisorOf, IsWaitedForBetweenTwoRuns) {
  const auto directory = VmDirectory::open(dirs_, "web");
  ASSERT_TRUE(directory);
  Result<UniqueFd> listener = UniqueFd();
  std::thread next_run([&] {
    std::this_thread::sleep_for(milliseconds(100));
    listener = listen_at(paths_.control_socket());
  });
  const auto found = supervisor_of(paths_, std::chrono::minutes(1));
  next_run.join();
  ASSERT_TRUE(found) << found.error().describe();
  EXPECT_TRUE(*found) << "or stop would do nothing, and say that all is well";
}

TEST_F(SupervisorOf, OneThatIsWorkedOnIsSeenAsStopped) {
  const auto directory = VmDirectory::open(dirs_, "web");
  ASSERT_TRUE(directory);
  const auto vm = look_at_vm(dirs_, "web");
  ASSERT_TRUE(vm);
  EXPECT_EQ(vm->state(), "stopped");
}

TEST_F(SupervisorOf, IsNotWaitedForEver) {
  const auto directory = VmDirectory::open(dirs_, "web");
  ASSERT_TRUE(directory);
  const auto refused = supervisor_of(paths_, milliseconds(50));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, EBUSY);
  EXPECT_NE(refused.error().text.find("VM web"), std::string::npos) << refused.error().text;
}

}  // namespace
}  // namespace layerboot::launcher
