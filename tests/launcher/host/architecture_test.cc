#include "launcher/host/architecture.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <set>

namespace layerboot::launcher {
namespace {

TEST(Architectures, EachImageHasOneMachine) {
  std::set<std::string_view> images;
  for (const Architecture& row : architectures()) {
    EXPECT_EQ(row.images.front(), row.name) << "its own first";
    for (const std::string_view image : row.images) {
      if (image.empty()) continue;
      EXPECT_TRUE(images.insert(image).second) << image;
      const auto found = architecture_for({"linux", std::string(image), {}});
      ASSERT_TRUE(found) << found.error().text;
      EXPECT_EQ(*found, &row);
    }
    EXPECT_FALSE(row.console.empty() || row.machine.empty() || row.emulated_cpu.empty()) << row.name;
    EXPECT_TRUE(row.qemu.starts_with("qemu-system-") && row.kernel_package.starts_with("linux-image-"));
  }
}

TEST(Architectures, SmallerOnesRunOnTheBiggerOnesMachine) {
  for (const auto& [image, machine] : {std::pair{"linux/386", "amd64"},
                                       {"linux/amd64/v3", "amd64"},
                                       {"linux/arm", "arm64"},
                                       {"linux/arm/v6", "arm64"},
                                       {"linux/armhf", "arm64"},
                                       {"linux/arm64/v8", "arm64"}}) {
    const auto platform = store::parse_platform(image);
    ASSERT_TRUE(platform) << image;
    const auto found = architecture_for(*platform);
    ASSERT_TRUE(found) << image;
    EXPECT_EQ((*found)->name, machine) << image;
  }
}

TEST(Architectures, ThisMachineIsNotForeign) {
  EXPECT_EQ(own_architecture().name, store::host_architecture());
  EXPECT_FALSE(is_foreign(own_architecture()));
  int foreign = 0;
  for (const Architecture& row : architectures()) foreign += is_foreign(row) ? 1 : 0;
  EXPECT_EQ(foreign + 1, static_cast<int>(architectures().size()));
}

TEST(Architectures, WhatHasNoMachineIsToldWhatDoes) {
  const auto missing = architecture_for({"linux", "s390x", {}});
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code, ENOTSUP);
  EXPECT_NE(missing.error().text.find("linux/s390x"), std::string::npos);
  EXPECT_NE(missing.error().text.find("linux/amd64, linux/386, linux/arm64, linux/arm, linux/riscv64"),
            std::string::npos)
      << missing.error().text;
  EXPECT_FALSE(architecture_for({"windows", "amd64", {}}));
}

}  // namespace
}  // namespace layerboot::launcher
