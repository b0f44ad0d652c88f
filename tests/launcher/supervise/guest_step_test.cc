#include "launcher/supervise/guest_step.h"

#include <gtest/gtest.h>

namespace layerboot::launcher {
namespace {

TEST(GuestStep, WithAndWithoutATime) {
  const auto up = parse_guest_step("layerboot: timing: system up");
  ASSERT_TRUE(up);
  EXPECT_EQ(up->name, "system up");
  EXPECT_EQ(up->ago, std::chrono::microseconds(0));
  const auto modules = parse_guest_step("[    1.2] x layerboot: timing: initrd: kernel modules -1234");
  ASSERT_TRUE(modules);
  EXPECT_EQ(modules->name, "initrd: kernel modules");
  EXPECT_EQ(modules->ago, std::chrono::microseconds(1234));
}

TEST(GuestStep, WhateverAGuestSays) {
  EXPECT_FALSE(parse_guest_step("layerboot: boot stopped"));
  EXPECT_EQ(parse_guest_step("layerboot: timing: a\x1b[2Jb\x07")->name, "a[2Jb");
  for (const char* text : {"a -", "a -+1", "a -1x", "a -99999999999999999999", "a -1000000001"}) {
    const auto step = parse_guest_step(std::string("layerboot: timing: ") + text);
    ASSERT_TRUE(step) << text;
    EXPECT_EQ(step->name, text);
    EXPECT_EQ(step->ago, std::chrono::microseconds(0)) << text;
  }
}

TEST(BootStopTest, IsHeardWhereverALineHasIt) {
  EXPECT_EQ(parse_boot_stop("layerboot: boot stopped: cannot mount the root"), "cannot mount the root");
  EXPECT_EQ(parse_boot_stop("[    1.2] x layerboot: boot stopped: a\x1b[31mb"), "a[31mb");
  EXPECT_EQ(parse_boot_stop("layerboot: boot stopped"), "");
  EXPECT_EQ(parse_boot_stop("layerboot: timing: initrd -5"), "");
}

}  // namespace
}  // namespace layerboot::launcher
