// How far the boot is, for `layerboot run --timing`.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace guest_init {

/// Its making is the step "kernel".
class BootSteps {
 public:
  BootSteps() { reached("kernel"); }

  void reached(std::string_view step);

  /// Says "layerboot: timing: STEP -MICROSECONDS" on the console for each: how long ago it was.
  void tell() const;

 private:
  struct Step {
    std::string name;
    std::uint64_t at_us;
  };
  std::vector<Step> steps_;
};

}  // namespace guest_init
