// Latencies: a histogram in steps of about 3 %.
#pragma once

#include <array>
#include <bit>
#include <cstdint>

namespace layerboot::bench {

class Latencies {
 public:
  void add(std::uint64_t ns) {
    ++counts_[index_of(ns)];
    ++total_;
  }
  void add(const Latencies& other) {
    for (std::size_t i = 0; i < counts_.size(); ++i) counts_[i] += other.counts_[i];
    total_ += other.total_;
  }
  /// In microseconds; 0 where nothing was measured.
  [[nodiscard]] double percentile_us(double percent) const {
    const auto wanted = static_cast<std::uint64_t>(static_cast<double>(total_) * percent / 100.0);
    std::uint64_t seen = 0;
    for (std::size_t i = 0; i < counts_.size(); ++i) {
      seen += counts_[i];
      if (seen > wanted) return static_cast<double>(value_of(i)) / 1000.0;
    }
    return 0;
  }

 private:
  static constexpr unsigned kStepBits = 5;  // steps in each power of two
  static std::size_t index_of(std::uint64_t ns) {
    if (ns < (1U << kStepBits)) return ns;
    const unsigned shift = static_cast<unsigned>(std::bit_width(ns)) - kStepBits - 1;
    return (static_cast<std::size_t>(shift + 1) << kStepBits) + (ns >> shift) - (1U << kStepBits);
  }
  static std::uint64_t value_of(std::size_t index) {
    if (index < (1U << kStepBits)) return index;
    const std::size_t shift = (index >> kStepBits) - 1;
    return ((index & ((1U << kStepBits) - 1)) + (1U << kStepBits)) << shift;
  }

  std::array<std::uint64_t, 64U << kStepBits> counts_{};
  std::uint64_t total_ = 0;
};

}  // namespace layerboot::bench
