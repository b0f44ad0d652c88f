#include "launcher/qemu/accel_probe.h"

#include <fcntl.h>
#include <gtest/gtest.h>

#include "launcher/qemu/qemu_version.h"
#include "oci-mount/base/unique_fd.h"
#include "tests/launcher/scratch_dir.h"

namespace layerboot::launcher {
namespace {

using std::chrono::milliseconds;

class AccelProbeTest : public testing::Test {
 protected:
  ProbeInput with_qemu(const std::string& body) {
    const std::string version =
        "[ \"$1\" = --version ] && { echo 'QEMU emulator version 1.2.3'; echo more; exit 0; }\n";
    const std::string count = str_cat("echo run >> ", (scratch_.path() / "runs").string(), "\n");
    return {.qemu = scratch_.script("qemu", version + count + body),
            .vmlinuz = "/k/vmlinuz",
            .initrd = "/k/initrd",
            .kernel_release = "6.1"};
  }
  StateDirs dirs() const {
    return {.data = scratch_.path() / "data",
            .cache = scratch_.path() / "cache",
            .runtime = scratch_.path() / "run"};
  }
  ScratchDir scratch_;
};

TEST_F(AccelProbeTest, AGuestThatSpeaksIsProof) {
  const auto verdict = probe_kvm(
      with_qemu("printf 'Booting\\r\\nlayerboot-pro' >&3; printf 'be: alive\\r\\n' >&3; exec sleep 1000"));
  EXPECT_TRUE(verdict.kvm_works) << verdict.reason;
}

TEST_F(AccelProbeTest, AGuestThatHangsIsNot) {
  const auto verdict =
      probe_kvm(with_qemu("printf 'Probing EDD... ok' >&3; exec sleep 1000"), milliseconds(100));
  EXPECT_FALSE(verdict.kvm_works);
  EXPECT_NE(verdict.reason.find("no sign of life"), std::string::npos) << verdict.reason;
}

TEST_F(AccelProbeTest, AQemuThatAbortsIsNot) {
  const auto verdict = probe_kvm(with_qemu("kill -ABRT $$"));
  EXPECT_FALSE(verdict.kvm_works);
  EXPECT_NE(verdict.reason.find("signal 6"), std::string::npos) << verdict.reason;
}

TEST_F(AccelProbeTest, NoQemuIsAVerdictToo) {
  const auto verdict =
      probe_kvm({.qemu = "/no/such/qemu", .vmlinuz = "", .initrd = "", .kernel_release = ""});
  EXPECT_FALSE(verdict.kvm_works);
}

TEST_F(AccelProbeTest, TheVerdictIsKeptUntilSomethingChanges) {
  if (!UniqueFd(::open("/dev/kvm", O_RDWR | O_CLOEXEC))) {
    GTEST_SKIP() << "/dev/kvm can't be opened here, so no probe would be started";
  }
  ProbeInput input = with_qemu("echo 'layerboot-probe: alive' >&3");
  const auto runs = [this] { return scratch_.read("runs").size() / 4; };
  EXPECT_FALSE(kvm_verdict(dirs(), input, false).cached);
  EXPECT_TRUE(kvm_verdict(dirs(), input, false).cached);
  EXPECT_TRUE(kvm_verdict(dirs(), input, false).kvm_works);
  EXPECT_EQ(runs(), 1U);
  EXPECT_FALSE(kvm_verdict(dirs(), input, true).cached);
  EXPECT_EQ(runs(), 2U);
  input.kernel_release = "6.12";
  EXPECT_FALSE(kvm_verdict(dirs(), input, false).cached);
  EXPECT_EQ(runs(), 3U);
  std::ofstream(dirs().cache / "kvm-probe.json") << "{\"key\": 7";
  EXPECT_FALSE(kvm_verdict(dirs(), input, false).cached) << "a damaged file is asked again, not believed";
}

TEST_F(AccelProbeTest, TheVersionIsTheFirstLine) {
  EXPECT_EQ(qemu_version(with_qemu("").qemu), "QEMU emulator version 1.2.3");
}

}  // namespace
}  // namespace layerboot::launcher
