// cpu_pause: what a loop that looks at memory again and again tells the processor.
#pragma once

namespace layerboot {

/// Leaves the core to its other thread, and the bus to others, for some tens of nanoseconds.
inline void cpu_pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

}  // namespace layerboot
