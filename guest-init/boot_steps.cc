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

BootSteps::BootSteps(bool wanted) : wanted_(wanted), began_us_(now_us()) {
  if (wanted_) say("timing: kernel");
}

void BootSteps::reached(std::string_view step) const {
  if (wanted_) say("timing: " + std::string(step) + " +" + std::to_string(now_us() - began_us_));
}

}  // namespace guest_init
