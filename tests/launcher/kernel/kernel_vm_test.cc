// guest-init in a machine, under TCG: what it says and that it always ends.
#include "launcher/host/run_tool.h"
#include "launcher/kernel/prepare_kernel.h"
#include "tests/launcher/kernel/scratch.h"

namespace layerboot::launcher {
namespace {

class KernelVm : public ScratchTest {
 protected:
  /// The console of a machine that ran to its own end, or why it did not.
  static Result<std::string> boot(const Kernel& kernel, std::string_view arguments) {
    return run_tool({"timeout",
                     "--kill-after=5",
                     "240",
                     "qemu-system-x86_64",
                     "-M",
                     "q35",
                     "-accel",
                     "tcg",
                     "-cpu",
                     "max",
                     "-m",
                     "256",
                     "-nodefaults",
                     "-no-user-config",
                     "-display",
                     "none",
                     "-serial",
                     "stdio",
                     "-no-reboot",
                     "-kernel",
                     kernel.vmlinuz.string(),
                     "-initrd",
                     kernel.initrd.string(),
                     "-append",
                     str_cat("console=ttyS0 quiet panic=-1 tsc=reliable no_timer_check ", kernel.tcg_append,
                             ' ', arguments)});
  }
  static Result<Kernel> kernel() {
    const std::filesystem::path state = LAYERBOOT_TEST_STATE;
    LB_TRY(run_tool({"qemu-system-x86_64", "--version"}));
    return prepare_kernel({state / "data", state / "cache", state / "run"}, "debian", LAYERBOOT_GUEST_INIT);
  }
};

TEST_F(KernelVm, TheProbeSaysThatItLivesAndPowersOff) {
  const auto prepared = kernel();
  if (!prepared) GTEST_SKIP() << "no QEMU or no kernel here: " << prepared.error().describe();
  const auto console = boot(*prepared, "layerboot.probe");
  ASSERT_TRUE(console) << console.error().text;
  EXPECT_NE(console->find("layerboot-probe: alive"), std::string::npos) << *console;
}

TEST_F(KernelVm, AMissingRootIsSaidAndEndsInPowerOff) {
  const auto prepared = kernel();
  if (!prepared) GTEST_SKIP() << "no QEMU or no kernel here: " << prepared.error().describe();
  const auto console = boot(*prepared, "root=absent rootfstype=virtiofs");
  ASSERT_TRUE(console) << console.error().text;
  EXPECT_NE(console->find("boot stopped: cannot mount the root absent (virtiofs)"), std::string::npos)
      << *console;
  EXPECT_EQ(console->find("Kernel panic"), std::string::npos) << *console;
}

}  // namespace
}  // namespace layerboot::launcher
