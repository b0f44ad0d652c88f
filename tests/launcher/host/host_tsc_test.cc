#include "launcher/host/host_tsc.h"

#include <gtest/gtest.h>

namespace layerboot::launcher {
namespace {

TEST(HostTsc, TwoMeasurementsAgree) {
  const std::uint64_t first = measure_host_tsc_khz();
  if (first == 0) GTEST_SKIP() << "this processor does not promise a constant rate";
  const std::uint64_t second = measure_host_tsc_khz();
  EXPECT_GT(first, 100'000U);
  // Linux trusts a given rate that is within 1 % of what it finds later.
  EXPECT_NEAR(static_cast<double>(second), static_cast<double>(first), static_cast<double>(first) / 100);
}

}  // namespace
}  // namespace layerboot::launcher
