// Device numbers in the one form that the tree's index, FUSE and uppers carry: new_encode_dev() of
// <linux/kdev_t.h>. Pure.
#pragma once

#include <sys/sysmacros.h>
#include <sys/types.h>

#include <cstdint>

namespace layerboot {

/// What fits that form, and Linux's own.
inline constexpr std::uint32_t kMaxDeviceMajor = (1U << 12U) - 1;
inline constexpr std::uint32_t kMaxDeviceMinor = (1U << 20U) - 1;

/// REQUIRES: neither is over its bound.
[[nodiscard]] constexpr std::uint32_t encode_dev(std::uint32_t dev_major, std::uint32_t dev_minor) {
  return (dev_minor & 0xffU) | (dev_major << 8U) | ((dev_minor & ~0xffU) << 12U);
}
[[nodiscard]] constexpr std::uint32_t major_of(std::uint32_t encoded) {
  return (encoded >> 8U) & kMaxDeviceMajor;
}
[[nodiscard]] constexpr std::uint32_t minor_of(std::uint32_t encoded) {
  return (encoded & 0xffU) | ((encoded >> 12U) & 0xfff00U);
}

/// From the C library's form, and to it.
[[nodiscard]] inline std::uint32_t encode_dev(dev_t dev) { return encode_dev(major(dev), minor(dev)); }
[[nodiscard]] inline dev_t decode_dev(std::uint32_t encoded) {
  return makedev(major_of(encoded), minor_of(encoded));
}

}  // namespace layerboot
