// vm_report: VM-RESULTS.md and vm-results.svg out of what bench/vm/compare.sh has measured.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "bench/vm_results.h"
#include "oci-mount/base/str_cat.h"

namespace layerboot::bench {
namespace {

namespace fs = std::filesystem;

std::string number(double value) {
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), value >= 100 ? "%.0f" : value >= 10 ? "%.1f" : "%.2f", value);
  return text.data();
}

std::string rounds_text(const VmResults& results) {
  return str_cat(results.rounds(), results.rounds() == 1 ? " round" : " rounds");
}

std::string figure(const Rounds& values) {
  if (values.size() == 1) return number(values.begin()->second);
  return str_cat(number(median(values)), " (", number(least(values)), "–", number(most(values)), ")");
}

/// The line above's title, where a job is the same once more.
std::string full_title(std::size_t job) {
  const std::string title = kVmJobs[job].title;
  return title == "again" ? str_cat(kVmJobs[job - 1].title, ", again") : title;
}

void write_table(std::ostream& out, const VmResults& results, bool as_ratios) {
  out << "| what |" << (as_ratios ? "" : " unit |");
  std::string rule = as_ratios ? "|---|" : "|---|---|";
  for (const VmContender& contender : results.present()) {
    if (as_ratios && contender.name == std::string(kRawDisk)) continue;
    out << ' ' << contender.name << " |";
    rule += "---|";
  }
  out << '\n' << rule << '\n';
  for (const VmJob& job : kVmJobs) {
    out << "| " << job.title << " |" << (as_ratios ? "" : str_cat(' ', std::string(job.unit), " |"));
    for (const VmContender& contender : results.present()) {
      if (as_ratios && contender.name == std::string(kRawDisk)) continue;
      const Rounds shown =
          as_ratios ? results.ratios(contender.name, job) : results.values(contender.name, job.name);
      out << ' ' << (shown.empty() ? "–" : figure(shown)) << (as_ratios && !shown.empty() ? "×" : "") << " |";
    }
    out << '\n';
  }
}

/// What the figures of `contender` say by themselves: which of its ranges lie on one side of the raw disk's.
void write_verdict(std::ostream& out, const VmResults& results, const std::string& contender) {
  std::vector<std::string> ahead;
  std::vector<std::string> behind;
  std::vector<std::string> either;
  for (std::size_t i = 0; i < kVmJobs.size(); ++i) {
    const Rounds ratios = results.ratios(contender, kVmJobs[i]);
    if (ratios.empty()) continue;
    auto& list = least(ratios) > 1 ? ahead : most(ratios) < 1 ? behind : either;
    list.push_back(str_cat(full_title(i), " (", number(median(ratios)), "×)"));
  }
  const auto say = [&out](const char* what, const std::vector<std::string>& list) {
    out << "- " << what << ": ";
    for (std::size_t i = 0; i < list.size(); ++i) out << (i == 0 ? "" : "; ") << list[i];
    out << (list.empty() ? "nothing.\n" : ".\n");
  };
  out << "`" << contender << "` beside the raw disk, over " << rounds_text(results)
      << ", with the medians:\n\n";
  say("better in every round", ahead);
  say("worse in every round", behind);
  say("now the one, now the other", either);
  out << '\n';
}

void write_plot(std::ostream& out, const VmResults& results) {
  std::vector<VmContender> shown;
  for (const VmContender& contender : results.present()) {
    if (contender.name != std::string(kRawDisk)) shown.push_back(contender);
  }
  constexpr int kBar = 9;
  constexpr int kGap = 10;
  constexpr int kLeft = 330;
  constexpr int kUnit = 150;   // pixels of "as the raw disk"
  constexpr double kMost = 4;  // longer bars are cut
  const int group = kBar * static_cast<int>(shown.size()) + kGap;
  out << "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"1000\" height=\""
      << 60 + group * static_cast<int>(kVmJobs.size())
      << "\" font-family=\"sans-serif\" font-size=\"11\"><rect width=\"100%\" height=\"100%\" "
         "fill=\"white\"/>"
      << "<text x=\"10\" y=\"18\" font-size=\"15\">How much better than a raw disk (the line; longer is "
         "better; cut at 4)</text>\n";
  int y = 50;
  for (std::size_t i = 0; i < kVmJobs.size(); ++i, y += kGap) {
    out << "<text x=\"10\" y=\"" << y + kBar * 2 << "\">" << full_title(i) << "</text>\n";
    for (const VmContender& contender : shown) {
      if (const Rounds ratios = results.ratios(contender.name, kVmJobs[i]); !ratios.empty()) {
        const double ratio = median(ratios);
        const int width = static_cast<int>(std::min(ratio, kMost) * kUnit);
        out << "<rect x=\"" << kLeft << "\" y=\"" << y << "\" width=\"" << width << "\" height=\"" << kBar - 1
            << "\" fill=\"" << contender.colour << "\"/><text x=\"" << kLeft + width + 4 << "\" y=\""
            << y + kBar - 1 << "\" font-size=\"9\">" << number(ratio) << "</text>\n";
      }
      y += kBar;
    }
  }
  out << "<line x1=\"" << kLeft + kUnit << "\" x2=\"" << kLeft + kUnit << "\" y1=\"44\" y2=\"" << y
      << "\" stroke=\"black\" stroke-dasharray=\"3\"/>\n";
  int x = 10;
  for (const VmContender& contender : shown) {
    out << "<rect x=\"" << x << "\" y=\"26\" width=\"10\" height=\"10\" fill=\"" << contender.colour
        << "\"/><text x=\"" << x + 15 << "\" y=\"35\">" << contender.name << "</text>\n";
    x += 130;
  }
  out << "</svg>\n";
}

void write_rounds(std::ostream& out, const VmResults& results, const char* name, const char* title) {
  out << '\n' << title << "\n\n";
  for (const VmContender& contender : results.present()) {
    out << "- " << contender.name << ':';
    for (const auto& [round, value] : results.values(contender.name, name)) out << ' ' << number(value);
    out << '\n';
  }
}

std::string read_all_of(const fs::path& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

struct Wish {
  fs::path results;
  fs::path output;
  fs::path conclusion;
  std::string commit;
  std::string kernel;
};

Result<void> write_report(const Wish& wish) {
  LB_ASSIGN(const VmResults results, VmResults::read(wish.results));
  if (results.present().empty()) return fail(ENODATA, wish.results.string(), ": nothing was measured");
  std::ofstream out(wish.output / "VM-RESULTS.md");
  out << "# A VM on virtiofs against a VM on a disk\n\n"
      << "One image, one kernel (" << wish.kernel << "), 2 processors under TCG, 1 GiB, at commit "
      << wish.commit << "; " << rounds_text(results)
      << " in alternation. `./dev bench vm` repeats it.\n\n## In plain words\n\n"
      << read_all_of(wish.conclusion) << "\n## Against the raw disk\n\n";
  write_verdict(out, results, kOurs);
  out << "How much better than the raw disk of the same round; over 1 is better. The median, and the range "
      << "over the rounds.\n\n![plot](vm-results.svg)\n\n";
  write_table(out, results, true);
  out << "\n## Figures\n\nMedian and range.\n\n";
  write_table(out, results, false);
  write_rounds(out, results, "load", "The host's load average at the end of each round:");
  write_rounds(out, results, "seconds", "Seconds that each took, preparation and all:");
  std::ofstream plot(wish.output / "vm-results.svg");
  write_plot(plot, results);
  out.flush();
  plot.flush();
  if (!out.good() || !plot.good()) return fail(EIO, wish.output.string(), ": the report can't be written");
  return {};
}

}  // namespace
}  // namespace layerboot::bench

int main(int argc, char** argv) {
  using namespace layerboot::bench;
  Wish wish;
  CLI::App app("Writes the report of bench/vm/compare.sh.");
  app.add_option("--results", wish.results, "a directory of CONTENDER.ROUND files")->required();
  app.add_option("--output", wish.output)->required();
  app.add_option("--commit", wish.commit);
  app.add_option("--kernel", wish.kernel);
  app.add_option("--conclusion", wish.conclusion, "text to put below the first heading");
  CLI11_PARSE(app, argc, argv);
  if (const auto written = write_report(wish); !written) {
    std::fprintf(stderr, "vm_report: %s\n", written.error().describe().c_str());
    return 1;
  }
  return 0;
}
