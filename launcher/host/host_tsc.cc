#include "launcher/host/host_tsc.h"

#if defined(__x86_64__)
#include <cpuid.h>
#include <time.h>
#include <x86intrin.h>

#include <chrono>
#include <thread>
#endif

namespace layerboot::launcher {

#if defined(__x86_64__)

namespace {

constexpr unsigned kPowerLeaf = 0x80000007;
constexpr unsigned kInvariantTsc = 1U << 8;  // EDX
constexpr std::chrono::milliseconds kInterval{20};
constexpr int kTries = 16;

bool tsc_is_constant() {
  unsigned a = 0;
  unsigned b = 0;
  unsigned c = 0;
  unsigned d = 0;
  return __get_cpuid(kPowerLeaf, &a, &b, &c, &d) != 0 && (d & kInvariantTsc) != 0;
}

std::uint64_t nanoseconds() {
  struct timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC_RAW, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000U + static_cast<std::uint64_t>(now.tv_nsec);
}

struct Moment {
  std::uint64_t ticks;
  std::uint64_t nanoseconds;
};

/// The closest of some looks at both clocks: in most of them nobody else ran in between.
Moment look() {
  Moment best{};
  std::uint64_t best_apart = UINT64_MAX;
  for (int i = 0; i < kTries; ++i) {
    const std::uint64_t before = nanoseconds();
    const std::uint64_t ticks = __rdtsc();
    const std::uint64_t apart = nanoseconds() - before;
    if (apart < best_apart) {
      best_apart = apart;
      best = {ticks, before + apart / 2};
    }
  }
  return best;
}

}  // namespace

std::uint64_t measure_host_tsc_khz() {
  if (!tsc_is_constant()) return 0;
  const Moment first = look();
  std::this_thread::sleep_for(kInterval);
  const Moment second = look();
  constexpr std::uint64_t kNanosecondsPerMillisecond = 1'000'000;
  return (second.ticks - first.ticks) * kNanosecondsPerMillisecond / (second.nanoseconds - first.nanoseconds);
}

#else

std::uint64_t measure_host_tsc_khz() { return 0; }

#endif

}  // namespace layerboot::launcher
