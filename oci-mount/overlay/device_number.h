// Device numbers in the form that FUSE and the tree carry: new_encode_dev() of <linux/kdev_t.h>.
#pragma once

#include <sys/sysmacros.h>
#include <sys/types.h>

#include <cstdint>

namespace layerboot::overlay {

[[nodiscard]] inline std::uint32_t encode_dev(dev_t dev) {
  const std::uint32_t dev_major = major(dev);
  const std::uint32_t dev_minor = minor(dev);
  return (dev_minor & 0xffU) | (dev_major << 8) | ((dev_minor & ~0xffU) << 12);
}

[[nodiscard]] inline dev_t decode_dev(std::uint32_t dev) {
  return makedev((dev & 0xfff00U) >> 8, (dev & 0xffU) | ((dev >> 12) & 0xfff00U));
}

}  // namespace layerboot::overlay
