// What bench/vm/compare.sh has measured: values by contender, job and round, and ratios to the raw disk.
#pragma once

#include <array>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "oci-mount/base/result.h"

namespace layerboot::bench {

struct VmJob {
  const char* name;
  const char* title;
  const char* unit;
  bool more_is_better;
};

struct VmContender {
  const char* name;
  const char* colour;
};

inline constexpr const char* kRawDisk = "raw";
inline constexpr const char* kOurs = "vfsd";

/// In the order in which they are shown.
extern const std::array<VmContender, 8> kVmContenders;
extern const std::vector<VmJob> kVmJobs;

/// By round, so that one which gave no value shifts no other.
using Rounds = std::map<unsigned, double>;

class VmResults {
 public:
  /// Reads a directory of files CONTENDER.ROUND with lines `NAME VALUE`. EINVAL names a line that is none.
  static Result<VmResults> read(const std::filesystem::path& directory);

  /// Empty when nothing was measured.
  [[nodiscard]] const Rounds& values(const std::string& contender, const std::string& job) const;
  /// How much better than the raw disk of the same round; over 1 is better.
  [[nodiscard]] Rounds ratios(const std::string& contender, const VmJob& job) const;
  [[nodiscard]] std::vector<VmContender> present() const;
  [[nodiscard]] unsigned rounds() const { return rounds_; }

 private:
  std::map<std::string, std::map<std::string, Rounds>> values_;
  unsigned rounds_ = 0;
};

/// REQUIRES: not empty.
[[nodiscard]] double median(const Rounds& values);
[[nodiscard]] double least(const Rounds& values);
[[nodiscard]] double most(const Rounds& values);

}  // namespace layerboot::bench
