#include "launcher/qemu/qemu_version.h"

#include <gtest/gtest.h>

namespace layerboot::launcher {
namespace {

TEST(QemuVersion, ItsMajorNumberIsReadFromThatLine) {
  EXPECT_EQ(qemu_major("QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18+b3)"), 7U);
  EXPECT_EQ(qemu_major("QEMU emulator version 10.0.13 (Debian 1:10.0.13+ds-0+deb13u1)"), 10U);
  for (const char* other : {"", "version", "version ", "version x", "QEMU"})
    EXPECT_EQ(qemu_major(other), 0U) << other;
}

}  // namespace
}  // namespace layerboot::launcher
