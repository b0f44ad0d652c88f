// How far the boot is, for `layerboot run --timing`.
#pragma once

#include <cstdint>
#include <string_view>

namespace guest_init {

/// Counts from its making, which is said as the step "kernel". Says nothing unless `wanted`.
class BootSteps {
 public:
  explicit BootSteps(bool wanted);

  /// Says "layerboot: timing: STEP +MICROSECONDS" on the console: the host hears several of them at once, so
  /// the time is the guest's.
  void reached(std::string_view step) const;

 private:
  bool wanted_;
  std::uint64_t began_us_;
};

}  // namespace guest_init
