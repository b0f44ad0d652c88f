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
  EXPECT_EQ(fit_of({}, "amd64"), Fit::kYes) << "nothing is said";
  EXPECT_EQ(fit_of({"linux", "amd64", ""}, "amd64"), Fit::kYes);
  EXPECT_EQ(fit_of({"linux", "386", ""}, "amd64"), Fit::kCompatible);
  EXPECT_EQ(fit_of({"linux", "386", ""}, "arm64"), Fit::kNot);
  EXPECT_EQ(fit_of({"linux", "arm64", "v8.2"}, "arm64"), Fit::kYes);
  EXPECT_EQ(fit_of({"linux", "arm64", "v9"}, "arm64"), Fit::kNot);
  EXPECT_EQ(fit_of({"linux", "amd64", "v9"}, "amd64"), Fit::kNot) << "no such level is known";
  EXPECT_EQ(fit_of({"windows", "amd64", ""}, "amd64"), Fit::kNot);
  EXPECT_EQ(fit_of({"unknown", "unknown", ""}, "amd64"), Fit::kNot);
}

}  // namespace
}  // namespace layerboot::store
