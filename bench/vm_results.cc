#include "bench/vm_results.h"

#include <algorithm>
#include <charconv>
#include <fstream>
#include <sstream>

namespace layerboot::bench {

namespace fs = std::filesystem;

const std::array<VmContender, 8> kVmContenders = {{{kRawDisk, "#8c8c8c"},
                                                   {"qcow2", "#4a6fa5"},
                                                   {kOurs, "#1b7f4b"},
                                                   {"vfsd-disk", "#4f9d6b"},
                                                   {"vfsd-ram", "#b5d8a0"},
                                                   {"vfsd-writeback", "#8fc9a3"},
                                                   {"virtiofsd-c", "#c0504d"},
                                                   {"virtiofsd-rust", "#e39b62"}}};

const std::vector<VmJob> kVmJobs = {
    {"prepare", "from blobs to ready to boot, nothing known", "ms", false},
    {"prepare-again", "another VM of the same image", "ms", false},
    {"prepare-kib", "disk used for that", "KiB", false},
    {"boot-before-initrd", "boot: kernel, up to the initrd", "ms", false},
    {"boot-kernel", "boot: kernel and initrd", "ms", false},
    {"boot-userspace", "boot: userspace, to multi-user", "ms", false},
    {"boot-wall", "boot: from the launch to the first job, by the host's clock", "ms", false},
    {"host-memory-kib", "memory of QEMU and daemon after the jobs", "KiB", false},
    {"find-cold", "find with stat in /usr, /etc, /var, cold", "ms", false},
    {"find-warm", "again", "ms", false},
    {"read-cold", "read half of /usr/bin, cold", "ms", false},
    {"read-warm", "again", "ms", false},
    {"untar", "untar 400 files", "ms", false},
    {"git-status-cold", "git status that reads all of them, cold", "ms", false},
    {"git-status-warm", "again", "ms", false},
    {"compile", "compile three files", "ms", false},
    {"sqlite", "sqlite, 30 transactions", "ms", false},
    {"apt-get", "apt-get install of a local package", "ms", false},
    {"rm-rf", "rm -rf of 400 files", "ms", false},
    {"fio-randread-4k-buffered", "fio 4 KiB random read, buffered", "op/s", true},
    {"fio-randread-4k-direct", "fio 4 KiB random read, direct", "op/s", true},
    {"fio-randwrite-4k-buffered", "fio 4 KiB random write, buffered", "op/s", true},
    {"fio-randwrite-4k-direct", "fio 4 KiB random write, direct", "op/s", true},
    {"fio-read-1m-buffered", "fio 1 MiB read, buffered", "KiB/s", true},
    {"fio-read-1m-direct", "fio 1 MiB read, direct", "KiB/s", true},
    {"fio-write-1m-buffered", "fio 1 MiB write, buffered", "KiB/s", true},
    {"fio-write-1m-direct", "fio 1 MiB write, direct", "KiB/s", true},
};

Result<VmResults> VmResults::read(const fs::path& directory) {
  VmResults results;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(directory, error)) {
    const std::string contender = entry.path().stem().string();
    const std::string suffix = entry.path().extension().string();
    unsigned round = 0;
    if (suffix.empty()) return fail(EINVAL, entry.path().string(), ": not the name of a round's results");
    const auto [end, bad] = std::from_chars(suffix.data() + 1, suffix.data() + suffix.size(), round);
    if (bad != std::errc() || end != suffix.data() + suffix.size() || round == 0) {
      return fail(EINVAL, entry.path().string(), ": not the name of a round's results");
    }
    results.rounds_ = std::max(results.rounds_, round);
    std::ifstream in(entry.path());
    for (std::string line; std::getline(in, line);) {
      std::istringstream words(line);
      std::string name;
      double value = 0;
      if (!(words >> name >> value))
        return fail(EINVAL, entry.path().string(), ": '", line, "' is no figure");
      results.values_[contender][name][round] = value;
    }
  }
  if (error) return fail(error.value(), directory.string());
  return results;
}

const Rounds& VmResults::values(const std::string& contender, const std::string& job) const {
  static const Rounds kNone;
  const auto of_contender = values_.find(contender);
  if (of_contender == values_.end()) return kNone;
  const auto found = of_contender->second.find(job);
  return found == of_contender->second.end() ? kNone : found->second;
}

Rounds VmResults::ratios(const std::string& contender, const VmJob& job) const {
  Rounds found;
  const Rounds& disk = values(kRawDisk, job.name);
  for (const auto& [round, value] : values(contender, job.name)) {
    const auto beside = disk.find(round);
    if (beside == disk.end() || value <= 0 || beside->second <= 0) continue;
    found[round] = job.more_is_better ? value / beside->second : beside->second / value;
  }
  return found;
}

std::vector<VmContender> VmResults::present() const {
  std::vector<VmContender> found;
  for (const VmContender& contender : kVmContenders) {
    if (values_.contains(contender.name)) found.push_back(contender);
  }
  return found;
}

double median(const Rounds& values) {
  std::vector<double> sorted;
  for (const auto& [round, value] : values) sorted.push_back(value);
  std::sort(sorted.begin(), sorted.end());
  const std::size_t middle = sorted.size() / 2;
  return sorted.size() % 2 == 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

double least(const Rounds& values) {
  const auto less = [](const auto& a, const auto& b) { return a.second < b.second; };
  return std::min_element(values.begin(), values.end(), less)->second;
}

double most(const Rounds& values) {
  const auto less = [](const auto& a, const auto& b) { return a.second < b.second; };
  return std::max_element(values.begin(), values.end(), less)->second;
}

}  // namespace layerboot::bench
