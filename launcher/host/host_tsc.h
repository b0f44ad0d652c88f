// The host's time stamp counter, which is an emulated guest's as well.
#pragma once

#include <cstdint>

namespace layerboot::launcher {

/// Its rate in kHz, measured in about 20 ms; 0 where that is unknown: the processor does not promise that it
/// is constant, or is no x86-64.
[[nodiscard]] std::uint64_t measure_host_tsc_khz();

}  // namespace layerboot::launcher
