#include "guest-init/boot_steps.h"

#include <ctime>
#include <string>

#include "guest-init/console.h"

namespace guest_init {

namespace {

std::uint64_t now_us() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000U +
         static_cast<std::uint64_t>(now.tv_nsec) / 1000U;
}

}  // namespace

void BootSteps::reached(std::string_view step) {
  steps_.push_back({.name = std::string(step), .at_us = now_us()});
}

void BootSteps::tell() const {
  const std::uint64_t now = now_us();
  std::string lines;
  for (const Step& step : steps_) {
    lines += lines.empty() ? "" : "\nlayerboot: ";
    lines += "timing: " + step.name + " -" + std::to_string(now - step.at_us);
  }
  say(lines);
}

}  // namespace guest_init
