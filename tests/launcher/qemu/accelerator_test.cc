#include "launcher/qemu/accelerator.h"

#include <gtest/gtest.h>

namespace layerboot::launcher {
namespace {

const AccelVerdict kWorks{.kvm_works = true, .reason = "a guest came up"};
const AccelVerdict kFails{.kvm_works = false, .reason = "it hangs"};

TEST(Accelerator, AutoFollowsTheVerdictAndAnnouncesTheFallback) {
  const auto with = choose_accelerator({}, kWorks);
  ASSERT_TRUE(with);
  EXPECT_EQ(with->accel, Accel::kKvm);
  EXPECT_TRUE(with->announcement.empty());
  const auto without = choose_accelerator({}, kFails);
  ASSERT_TRUE(without);
  EXPECT_EQ(without->accel, Accel::kTcg);
  EXPECT_NE(without->announcement.find("it hangs"), std::string::npos);
  EXPECT_NE(without->announcement.find("TCG"), std::string::npos);
}

TEST(Accelerator, RequireKvmMakesTheFallbackAnError) {
  RunSettings settings;
  settings.require_kvm = true;
  const auto refused = choose_accelerator(settings, kFails);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ENODEV);
  EXPECT_NE(refused.error().text.find("it hangs"), std::string::npos);
  settings.accel_choice = AccelChoice::kKvm;
  EXPECT_TRUE(needs_verdict(settings));
  EXPECT_FALSE(choose_accelerator(settings, kFails));
}

TEST(Accelerator, AnExplicitChoiceAsksNobody) {
  RunSettings settings;
  settings.accel_choice = AccelChoice::kTcg;
  EXPECT_FALSE(needs_verdict(settings));
  EXPECT_EQ(choose_accelerator(settings, kWorks)->accel, Accel::kTcg);
  settings.accel_choice = AccelChoice::kKvm;
  EXPECT_FALSE(needs_verdict(settings));
  EXPECT_EQ(choose_accelerator(settings, {})->accel, Accel::kKvm);
}

TEST(Accelerator, MicrovmOnlyWithKvm) {
  RunSettings settings;
  settings.machine_choice = MachineChoice::kMicrovm;
  EXPECT_EQ(choose_accelerator(settings, kWorks)->machine, Machine::kMicrovm);
  EXPECT_FALSE(choose_accelerator(settings, kFails));
}

TEST(Accelerator, AnotherArchitectureIsEmulatedWhateverKvmCan) {
  RunSettings settings;
  settings.platform = "linux/riscv64";
  EXPECT_FALSE(needs_verdict(settings));
  const auto chosen = choose_accelerator(settings, kWorks);
  ASSERT_TRUE(chosen) << chosen.error().text;
  EXPECT_EQ(chosen->accel, Accel::kTcg);
  EXPECT_NE(chosen->announcement.find("riscv64"), std::string::npos) << chosen->announcement;
  settings.accel_choice = AccelChoice::kTcg;
  EXPECT_TRUE(choose_accelerator(settings, kWorks)->announcement.empty()) << "as asked for";
  settings.machine_choice = MachineChoice::kQ35;
  EXPECT_FALSE(choose_accelerator(settings, kWorks));
  settings.machine_choice = MachineChoice::kAuto;
  settings.accel_choice = AccelChoice::kKvm;
  EXPECT_EQ(choose_accelerator(settings, kWorks).error().code, ENODEV);
  settings.accel_choice = AccelChoice::kAuto;
  settings.require_kvm = true;
  EXPECT_EQ(choose_accelerator(settings, kWorks).error().code, ENODEV);
}

}  // namespace
}  // namespace layerboot::launcher
