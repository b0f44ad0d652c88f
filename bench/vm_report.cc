// vm_report: VM-RESULTS.md and vm-results.svg out of what bench/vm/compare.sh has measured.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>
#include <string>
#include <vector>

#include "oci-mount/base/str_cat.h"

namespace layerboot::bench {
namespace {

namespace fs = std::filesystem;

constexpr std::array<const char*, 5> kContenders = {"raw", "qcow2", "vfsd", "virtiofsd-c", "virtiofsd-rust"};
constexpr std::array<const char*, 5> kColours = {"#8c8c8c", "#4a6fa5", "#1b7f4b", "#c0504d", "#e39b62"};
constexpr const char* kReference = "raw";

struct Job {
  const char* name;
  const char* title;
  const char* unit;
  bool more_is_better;
};
constexpr std::array kJobs = {
    Job{"prepare", "from blobs to ready to boot, nothing known", "ms", false},
    Job{"prepare-again", "another VM of the same image", "ms", false},
    Job{"prepare-kib", "disk used for that", "KiB", false},
    Job{"boot-before-initrd", "boot: kernel, up to the initrd", "ms", false},
    Job{"boot-kernel", "boot: kernel and initrd", "ms", false},
    Job{"boot-userspace", "boot: userspace, to multi-user", "ms", false},
    Job{"boot-wall", "boot: from the launch to the first job, by the host's clock", "ms", false},
    Job{"host-memory-kib", "memory of QEMU and daemon after the jobs", "KiB", false},
    Job{"find-cold", "find over all files, first", "ms", false},
    Job{"find-warm", "again", "ms", false},
    Job{"stat-cold", "stat of all in /usr, cold", "ms", false},
    Job{"read-cold", "read /usr/bin, cold", "ms", false},
    Job{"read-warm", "again", "ms", false},
    Job{"untar", "untar 800 files", "ms", false},
    Job{"git-status-cold", "git status, cold", "ms", false},
    Job{"git-status-warm", "again", "ms", false},
    Job{"compile", "compile four files", "ms", false},
    Job{"sqlite", "sqlite, 60 transactions", "ms", false},
    Job{"apt-get", "apt-get install of two local packages", "ms", false},
    Job{"rm-rf", "rm -rf of 800 files", "ms", false},
    Job{"fio-randread-4k-buffered", "fio 4 KiB random read, buffered", "op/s", true},
    Job{"fio-randread-4k-direct", "fio 4 KiB random read, direct", "op/s", true},
    Job{"fio-randwrite-4k-buffered", "fio 4 KiB random write, buffered", "op/s", true},
    Job{"fio-randwrite-4k-direct", "fio 4 KiB random write, direct", "op/s", true},
    Job{"fio-read-1m-buffered", "fio 1 MiB read, buffered", "KiB/s", true},
    Job{"fio-read-1m-direct", "fio 1 MiB read, direct", "KiB/s", true},
    Job{"fio-write-1m-buffered", "fio 1 MiB write, buffered", "KiB/s", true},
    Job{"fio-write-1m-direct", "fio 1 MiB write, direct", "KiB/s", true},
};

/// Values of one job in one contender, in the order of the rounds.
using Rounds = std::vector<double>;
using Results = std::map<std::string, std::map<std::string, Rounds>>;

Results read_results(const fs::path& directory) {
  Results results;
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(directory)) files.push_back(entry.path());
  std::sort(files.begin(), files.end());
  for (const fs::path& file : files) {
    std::ifstream in(file);
    std::string name;
    double value = 0;
    while (in >> name >> value) results[file.stem().string()][name].push_back(value);
  }
  return results;
}

double median(Rounds values) {
  std::sort(values.begin(), values.end());
  const std::size_t middle = values.size() / 2;
  return values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

std::string number(double value) {
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), value >= 100 ? "%.0f" : value >= 10 ? "%.1f" : "%.2f", value);
  return text.data();
}

const Rounds* find(const Results& results, const std::string& contender, const char* job) {
  const auto of_contender = results.find(contender);
  if (of_contender == results.end()) return nullptr;
  const auto values = of_contender->second.find(job);
  return values == of_contender->second.end() || values->second.empty() ? nullptr : &values->second;
}

std::string figure(const Rounds& values) {
  const auto [low, high] = std::minmax_element(values.begin(), values.end());
  if (values.size() == 1) return number(values.front());
  return str_cat(number(median(values)), " (", number(*low), "–", number(*high), ")");
}

/// How much better than the raw disk, round against round: over 1 is better.
Rounds ratios(const Results& results, const std::string& contender, const Job& job) {
  Rounds found;
  const Rounds* const ours = find(results, contender, job.name);
  const Rounds* const disk = find(results, kReference, job.name);
  if (ours == nullptr || disk == nullptr) return found;
  for (std::size_t i = 0; i < std::min(ours->size(), disk->size()); ++i) {
    if ((*ours)[i] <= 0 || (*disk)[i] <= 0) continue;
    found.push_back(job.more_is_better ? (*ours)[i] / (*disk)[i] : (*disk)[i] / (*ours)[i]);
  }
  return found;
}

std::vector<std::string> present(const Results& results) {
  std::vector<std::string> names;
  for (const char* name : kContenders) {
    if (results.contains(name)) names.emplace_back(name);
  }
  return names;
}

void write_table(std::ostream& out, const Results& results, bool as_ratios) {
  const auto names = present(results);
  out << "| what |" << (as_ratios ? "" : " unit |");
  std::string rule = as_ratios ? "|---|" : "|---|---|";
  for (const auto& name : names) {
    if (as_ratios && name == kReference) continue;
    out << ' ' << name << " |";
    rule += "---|";
  }
  out << '\n' << rule << '\n';
  for (const Job& job : kJobs) {
    out << "| " << job.title << " |" << (as_ratios ? "" : str_cat(' ', std::string(job.unit), " |"));
    for (const auto& name : names) {
      if (as_ratios && name == kReference) continue;
      const Rounds* const values = find(results, name, job.name);
      const Rounds shown = as_ratios ? ratios(results, name, job) : values != nullptr ? *values : Rounds();
      out << ' ' << (shown.empty() ? "–" : figure(shown)) << (as_ratios && !shown.empty() ? "×" : "") << " |";
    }
    out << '\n';
  }
}

void write_plot(const fs::path& path, const Results& results) {
  const auto names = present(results);
  constexpr int kBar = 9;
  constexpr int kLeft = 300;
  constexpr int kUnit = 150;   // pixels of "as the raw disk"
  constexpr double kMost = 4;  // longer bars are cut
  const int group = kBar * static_cast<int>(names.size()) + 10;
  std::ofstream out(path);
  out << "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"1000\" height=\""
      << 60 + group * static_cast<int>(kJobs.size())
      << "\" font-family=\"sans-serif\" font-size=\"11\"><rect width=\"100%\" height=\"100%\" "
         "fill=\"white\"/>"
      << "<text x=\"10\" y=\"18\" font-size=\"15\">How much better than a raw disk (the line; longer is "
         "better; cut at 4)</text>\n";
  int y = 50;
  for (const Job& job : kJobs) {
    out << "<text x=\"10\" y=\"" << y + kBar * 2 << "\">" << job.title << "</text>\n";
    for (std::size_t i = 0; i < kContenders.size(); ++i) {
      if (kContenders[i] == std::string(kReference) || !results.contains(kContenders[i])) continue;
      const Rounds shown = ratios(results, kContenders[i], job);
      if (!shown.empty()) {
        const double ratio = median(shown);
        const int width = static_cast<int>(std::min(ratio, kMost) * kUnit);
        out << "<rect x=\"" << kLeft << "\" y=\"" << y << "\" width=\"" << width << "\" height=\"" << kBar - 1
            << "\" fill=\"" << kColours[i] << "\"/><text x=\"" << kLeft + width + 4 << "\" y=\""
            << y + kBar - 1 << "\" font-size=\"9\">" << number(ratio) << "</text>\n";
      }
      y += kBar;
    }
    y += 10 + kBar;
  }
  out << "<line x1=\"" << kLeft + kUnit << "\" x2=\"" << kLeft + kUnit << "\" y1=\"44\" y2=\"" << y
      << "\" stroke=\"black\" stroke-dasharray=\"3\"/>\n";
  int x = 10;
  for (std::size_t i = 0; i < kContenders.size(); ++i) {
    if (kContenders[i] == std::string(kReference) || !results.contains(kContenders[i])) continue;
    out << "<rect x=\"" << x << "\" y=\"26\" width=\"10\" height=\"10\" fill=\"" << kColours[i]
        << "\"/><text x=\"" << x + 15 << "\" y=\"35\">" << kContenders[i] << "</text>\n";
    x += 130;
  }
  out << "</svg>\n";
}

std::string read_all_of(const fs::path& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

}  // namespace
}  // namespace layerboot::bench

int main(int argc, char** argv) {
  using namespace layerboot::bench;
  std::string results_path;
  std::string output;
  std::string commit;
  std::string kernel;
  std::string conclusion;
  unsigned rounds = 0;
  CLI::App app("Writes the report of bench/vm/compare.sh.");
  app.add_option("--results", results_path)->required();
  app.add_option("--output", output)->required();
  app.add_option("--commit", commit);
  app.add_option("--kernel", kernel);
  app.add_option("--rounds", rounds);
  app.add_option("--conclusion", conclusion, "text to put below the heading");
  CLI11_PARSE(app, argc, argv);
  const Results results = read_results(results_path);
  std::ofstream out(fs::path(output) / "VM-RESULTS.md");
  out << "# A VM on virtiofs against a VM on a disk\n\n"
      << "One image, one kernel (" << kernel << "), 2 processors under TCG, 1 GiB, at commit " << commit
      << "; " << rounds << " rounds in alternation. `./dev bench vm` repeats it.\n\n"
      << read_all_of(conclusion)
      << "\n## Against the raw disk\n\nHow much better than the raw disk of the same round; over 1 is "
      << "better. The median, and the range over the rounds.\n\n![plot](vm-results.svg)\n\n";
  write_table(out, results, true);
  out << "\n## Figures\n\nMedian and range.\n\n";
  write_table(out, results, false);
  out << "\nRounds measured, and the host's load average at the end of each:\n\n";
  for (const auto& name : present(results)) {
    if (const Rounds* const load = find(results, name, "load")) {
      out << "- " << name << ':';
      for (const double value : *load) out << ' ' << number(value);
      out << '\n';
    }
  }
  write_plot(fs::path(output) / "vm-results.svg", results);
  return out.good() ? 0 : 1;
}
