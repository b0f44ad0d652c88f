#include "oci-mount/store/platform.h"

#include <gtest/gtest.h>

namespace layerboot::store {
namespace {

std::string normal(std::string os, std::string architecture, std::string variant = "") {
  return platform_text(normalized({std::move(os), std::move(architecture), std::move(variant)}));
}

TEST(Platform, OtherNamesAreOne) {
  EXPECT_EQ(normal("linux", "x86_64"), "linux/amd64");
  EXPECT_EQ(normal("Linux", "AMD64", "v1"), "linux/amd64");
  EXPECT_EQ(normal("linux", "aarch64", "v8"), "linux/arm64");
  EXPECT_EQ(normal("linux", "i686"), "linux/386");
  EXPECT_EQ(normal("linux", "armhf"), "linux/arm/v7");
  EXPECT_EQ(normal("linux", "armel"), "linux/arm/v6");
  EXPECT_EQ(normal("linux", "arm", "7"), "linux/arm/v7");
  EXPECT_EQ(normal("", ""), "?/?");
}

TEST(Platform, WhatFits) {
  EXPECT_EQ(fit_of({}, {"linux", "amd64", ""}), Fit::kYes) << "nothing is said";
  EXPECT_EQ(fit_of({"linux", "amd64", ""}, {"linux", "amd64", ""}), Fit::kYes);
  EXPECT_EQ(fit_of({"linux", "386", ""}, {"linux", "amd64", ""}), Fit::kCompatible);
  EXPECT_EQ(fit_of({"linux", "386", ""}, {"linux", "arm64", ""}), Fit::kNot);
  EXPECT_EQ(fit_of({"linux", "arm64", "v8.2"}, {"linux", "arm64", ""}), Fit::kYes);
  EXPECT_EQ(fit_of({"linux", "arm64", "v9"}, {"linux", "arm64", ""}), Fit::kNot);
  EXPECT_EQ(fit_of({"linux", "amd64", "v9"}, {"linux", "amd64", ""}), Fit::kNot) << "no such level is known";
  EXPECT_EQ(fit_of({"linux", "amd64", "v9"}, {"linux", "amd64", "v9"}), Fit::kYes)
      << "it is what was asked for";
  EXPECT_EQ(fit_of({"linux", "riscv64", "rva23"}, {"linux", "riscv64", "rva23"}), Fit::kYes);
  EXPECT_EQ(fit_of({"windows", "amd64", ""}, {"linux", "amd64", ""}), Fit::kNot);
  EXPECT_EQ(fit_of({"unknown", "unknown", ""}, {"linux", "amd64", ""}), Fit::kNot);
}

TEST(Platform, AnOlderArmFitsANewerOne) {
  const Platform v7{"linux", "arm", "v7"};
  EXPECT_EQ(fit_of({"linux", "arm", "v7"}, v7), Fit::kYes);
  EXPECT_EQ(fit_of({"linux", "arm", "v5"}, v7), Fit::kYes);
  EXPECT_EQ(fit_of({"linux", "arm", ""}, v7), Fit::kYes);
  EXPECT_EQ(fit_of({"linux", "arm", "v7"}, {"linux", "arm", "v6"}), Fit::kNot);
  EXPECT_EQ(fit_of({"linux", "arm", "v6"}, {"linux", "arm", ""}), Fit::kYes);
  EXPECT_EQ(fit_of({"linux", "arm", "v8"}, {"linux", "arm", ""}), Fit::kNot) << "v7 is wanted";
  EXPECT_EQ(fit_of({"linux", "arm64", ""}, v7), Fit::kNot);
}

TEST(Platform, AHigherLevelIsNotGivenWhereALowerOneIsAskedFor) {
  EXPECT_EQ(fit_of({"linux", "amd64", "v3"}, {"linux", "amd64", "v2"}), Fit::kNot);
  EXPECT_EQ(fit_of({"linux", "amd64", "v3"}, {"linux", "amd64", "v4"}), Fit::kYes);
  EXPECT_EQ(fit_of({"linux", "arm64", "v8.2"}, {"linux", "arm64", "v9"}), Fit::kYes);
}

TEST(Platform, TheNearestIsTheBest) {
  const auto in_order = [](const Platform& wanted, std::initializer_list<const char*> variants) {
    unsigned before = 0;
    for (const char* const variant : variants) {
      const unsigned distance = distance_of({wanted.os, wanted.architecture, variant}, wanted);
      EXPECT_TRUE(variant == *variants.begin() ? distance == 0 : distance > before) << variant;
      before = distance;
    }
  };
  in_order({"linux", "arm", "v7"}, {"v7", "", "v6", "v5", "v8"});
  in_order({"linux", "arm", ""}, {"v7", "", "v6", "v5"});
  in_order({"linux", "amd64", ""}, {"", "v2", "v3", "v4"});
  in_order({"linux", "amd64", "v3"}, {"v3", "v2", "", "v4"});
  in_order({"linux", "arm64", ""}, {"", "v8.1", "v8.10", "v9"});
  in_order({"linux", "riscv64", "rva23"}, {"rva23", ""});
}

TEST(Platform, WhatAnIndexSaysCounts) {
  const Platform amd64{"linux", "amd64", ""};
  const Platform arm64{"linux", "arm64", ""};
  EXPECT_EQ(platform_of_image(amd64, arm64), amd64);
  EXPECT_EQ(platform_of_image(amd64, {"windows", "amd64", ""}), amd64);
  EXPECT_EQ(platform_of_image(std::nullopt, arm64), arm64);
  EXPECT_EQ(platform_of_image(Platform{"linux", "", ""}, arm64), arm64);
  const Platform v3{"linux", "amd64", "v3"};
  EXPECT_EQ(platform_of_image(amd64, v3), v3) << "they agree";
  EXPECT_EQ(platform_of_image(v3, amd64), amd64);
}

TEST(Platform, IsReadAsOsAndArchitecture) {
  EXPECT_EQ(platform_text(*parse_platform("linux/aarch64")), "linux/arm64");
  EXPECT_EQ(platform_text(*parse_platform("linux/arm/v7")), "linux/arm/v7");
  EXPECT_EQ(*parse_platform(platform_text(host_platform())), host_platform());
  EXPECT_FALSE(parse_platform("arm64"));
}

}  // namespace
}  // namespace layerboot::store
