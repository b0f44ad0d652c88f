#include "guest-init/mount_order.h"

#include <gtest/gtest.h>

namespace guest_init {
namespace {

std::string order_of(const std::vector<Share>& shares, const std::vector<std::string>& tmpfs) {
  std::string text;
  for (const MountStep& step : in_mount_order(shares, tmpfs)) {
    text += (step.share ? step.share->tag : "tmpfs") + " " + step.path;
    text += (step.tmpfs_options.empty() ? "" : " " + step.tmpfs_options) + "\n";
  }
  return text;
}

TEST(MountOrder, WhatIsInsideAnotherComesAfterIt) {
  EXPECT_EQ(order_of({{.tag = "x", .path = "/data/x"}}, {"/data:size=1m"}),
            "tmpfs /data size=1m\nx /data/x\n");
  EXPECT_EQ(order_of({{.tag = "a", .path = "/d/s"}, {.tag = "b", .path = "/d"}}, {}), "b /d\na /d/s\n");
  EXPECT_EQ(order_of({{.tag = "a", .path = "/d//s/"}, {.tag = "b", .path = "/./d/"}}, {"/d/s/t/../u"}),
            "b /d\na /d/s\ntmpfs /d/s/u\n");
}

TEST(MountOrder, TheRestStaysAsItWasGiven) {
  EXPECT_EQ(order_of({{.tag = "z", .path = "/z"}, {.tag = "a", .path = "/a"}}, {"/z", "/b"}),
            "z /z\na /a\ntmpfs /z\ntmpfs /b\n");
}

TEST(PlainPath, HasNothingToResolve) {
  EXPECT_EQ(plain_path("/a//b/./c/"), "/a/b/c");
  EXPECT_EQ(plain_path("a/../.."), "/");
  EXPECT_EQ(plain_path("/a/b/../c"), "/a/c");
  EXPECT_EQ(plain_path(""), "/");
}

}  // namespace
}  // namespace guest_init
