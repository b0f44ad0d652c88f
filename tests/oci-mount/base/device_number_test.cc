#include "oci-mount/base/device_number.h"

#include <gtest/gtest.h>

namespace layerboot {
namespace {

// As <linux/kdev_t.h> has them.
static_assert(encode_dev(1U, 3U) == 0x103);
static_assert(encode_dev(8U, 256U) == 0x100800);
static_assert(encode_dev(kMaxDeviceMajor, kMaxDeviceMinor) == 0xffff'ffff);

TEST(DeviceNumber, PartsComeBack) {
  for (const std::uint32_t high : {0U, 1U, 255U, 256U, kMaxDeviceMajor}) {
    for (const std::uint32_t low : {0U, 3U, 255U, 256U, 0xfff00U, kMaxDeviceMinor}) {
      const std::uint32_t encoded = encode_dev(high, low);
      EXPECT_EQ(major_of(encoded), high);
      EXPECT_EQ(minor_of(encoded), low);
      EXPECT_EQ(decode_dev(encoded), makedev(high, low));
      EXPECT_EQ(encode_dev(makedev(high, low)), encoded);
    }
  }
}

}  // namespace
}  // namespace layerboot
