#include "launcher/cli/stats_command.h"

#include <unistd.h>

#include <array>
#include <chrono>
#include <cstdio>
#include <map>
#include <thread>

#include "launcher/cli/columns.h"
#include "launcher/cli/vm_rows.h"
#include "launcher/vm/vfsd_client.h"
#include "oci-mount/base/decimal.h"
#include "oci-mount/base/files.h"
#include "oci-mount/base/progress.h"
#include "oci-mount/store/json_document.h"

namespace layerboot::launcher {

namespace {

using nlohmann::json;
using std::chrono::steady_clock;

constexpr std::chrono::seconds kInterval{1};
constexpr std::size_t kMaxProcBytes = 65'536;
constexpr const char* kClearScreen = "\x1b[H\x1b[J";

/// What a VM had used at one moment.
struct Sample {
  std::uint64_t cpu_ticks = 0;     // of QEMU and the daemons together
  std::uint64_t memory_bytes = 0;  // of QEMU: what the guest has touched, and QEMU's own
  std::uint64_t daemon_bytes = 0;
  std::optional<std::uint64_t> requests;  // that the root's daemon has served
  steady_clock::time_point at;
};

/// The blank-separated word at `number` of a text, counted from 0.
std::optional<std::uint64_t> number_at(std::string_view text, std::size_t number) {
  for (; number > 0 && !text.empty(); --number) text.remove_prefix(std::min(text.size(), text.find(' ') + 1));
  return parse_decimal(text.substr(0, text.find_first_of(" \n")), UINT64_MAX);
}

void add_process(std::int64_t pid, Sample& sample, std::uint64_t& memory_bytes) {
  // proc(5): the name, which may hold anything, ends at the last ')'.
  constexpr std::size_t kUserTicks = 11;
  constexpr std::size_t kSystemTicks = 12;
  const auto stat = read_file(str_cat("/proc/", pid, "/stat"), kMaxProcBytes);
  if (!stat) return;
  const auto name_end = stat->rfind(") ");
  if (name_end == std::string::npos) return;
  const std::string_view words = std::string_view(*stat).substr(name_end + 2);
  sample.cpu_ticks += number_at(words, kUserTicks).value_or(0) + number_at(words, kSystemTicks).value_or(0);
  if (const auto pages = read_file(str_cat("/proc/", pid, "/statm"), kMaxProcBytes))
    memory_bytes += number_at(*pages, 1).value_or(0) * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
}

Sample take_sample(const VmView& vm) {
  Sample sample;
  sample.at = steady_clock::now();
  const auto qemu = vm.live.find("qemu_pid");
  if (qemu != vm.live.end() && qemu->is_number_integer())
    add_process(qemu->get<std::int64_t>(), sample, sample.memory_bytes);
  const auto daemons = vm.live.find("daemons");
  if (daemons != vm.live.end() && daemons->is_array()) {
    for (const json& daemon : *daemons) {
      if (daemon.is_object() && daemon.contains("pid") && daemon["pid"].is_number_integer())
        add_process(daemon["pid"].get<std::int64_t>(), sample, sample.daemon_bytes);
    }
  }
  const auto stats = ask_vfsd(vm.paths.vfsd_socket(), {{"command", "stats"}});
  const auto requests = stats ? stats->find("requests") : json::const_iterator();
  if (stats && requests != stats->end() && requests->is_object()) {
    std::uint64_t sum = 0;
    for (const auto& [opcode, count] : requests->items()) {
      if (count.is_number_unsigned()) sum += count.get<std::uint64_t>();
    }
    sample.requests = sum;
  }
  return sample;
}

struct Usage {
  double cpu_percent = 0;  // of one processor
  std::optional<double> requests_a_second;
};

Usage usage_between(const Sample& before, const Sample& now) {
  const double seconds = std::chrono::duration<double>(now.at - before.at).count();
  Usage usage;
  if (seconds <= 0) return usage;
  const auto ticks = static_cast<double>(now.cpu_ticks - std::min(now.cpu_ticks, before.cpu_ticks));
  usage.cpu_percent = 100 * ticks / static_cast<double>(::sysconf(_SC_CLK_TCK)) / seconds;
  if (now.requests && before.requests && *now.requests >= *before.requests)
    usage.requests_a_second = static_cast<double>(*now.requests - *before.requests) / seconds;
  return usage;
}

std::string decimal(double value) {
  std::array<char, 64> text{};
  std::snprintf(text.data(), text.size(), "%.1f", value);
  return text.data();
}

std::vector<std::string> cells_of(const VmView& vm, const Sample& sample, const Usage& usage) {
  const std::uint64_t most = vm.record ? vm.record->run.memory_bytes : 0;
  const json used = used_bytes_of(vm);
  return {vm.name,
          decimal(usage.cpu_percent),
          str_cat(human_size(sample.memory_bytes), " of ", human_size(most)),
          human_size(sample.daemon_bytes),
          sample.requests ? std::to_string(*sample.requests) : "-",
          usage.requests_a_second ? decimal(*usage.requests_a_second) : "-",
          used.is_number_unsigned() ? human_size(used.get<std::uint64_t>()) : "-"};
}

json json_of(const VmView& vm, const Sample& sample, const Usage& usage) {
  return {{"name", vm.name},
          {"cpu_percent", usage.cpu_percent},
          {"memory_bytes", sample.memory_bytes},
          {"memory_limit_bytes", vm.record ? vm.record->run.memory_bytes : 0},
          {"daemon_bytes", sample.daemon_bytes},
          {"requests", sample.requests ? json(*sample.requests) : json()},
          {"requests_per_second", usage.requests_a_second ? json(*usage.requests_a_second) : json()},
          {"disk_used_bytes", used_bytes_of(vm)}};
}

Result<std::vector<VmView>> watched_vms(const StateDirs& dirs, const Options& options) {
  if (options.names.empty()) {
    LB_ASSIGN(auto vms, list_vms(dirs));
    std::erase_if(vms, [](const VmView& vm) { return !vm.is_live(); });
    return vms;
  }
  std::vector<VmView> vms;
  for (const std::string& name : options.names) {
    LB_ASSIGN(auto vm, look_at_vm(dirs, name));
    if (!vm.is_live()) return std::unexpected(vm_not_running(name));
    vms.push_back(std::move(vm));
  }
  return vms;
}

/// One round: what `before` has of a VM is replaced by what is there now.
Result<std::string> round_of(const StateDirs& dirs, const Options& options,
                             std::map<std::string, Sample>& before) {
  LB_ASSIGN(const auto vms, watched_vms(dirs, options));
  std::vector<std::vector<std::string>> cells = {
      {"NAME", "CPU %", "MEMORY", "DAEMONS", "REQUESTS", "PER SECOND", "DISK USED"}};
  json list = json::array();
  std::map<std::string, Sample> now;
  for (const VmView& vm : vms) {
    const Sample sample = take_sample(vm);
    const auto earlier = before.find(vm.name);
    const Usage usage = earlier == before.end() ? Usage() : usage_between(earlier->second, sample);
    if (options.json) {
      list.push_back(json_of(vm, sample, usage));
    } else {
      cells.push_back(cells_of(vm, sample, usage));
    }
    now.emplace(vm.name, sample);
  }
  before = std::move(now);
  if (options.json) return store::json_text(list) + "\n";
  return columns(cells);
}

}  // namespace

Result<void> show_stats(const StateDirs& dirs, const Options& options) {
  std::map<std::string, Sample> before;
  const bool redraw = !options.json && !options.no_stream && ::isatty(STDOUT_FILENO) != 0;
  // The first only begins the measurement.
  LB_TRY(round_of(dirs, options, before));
  for (;;) {
    std::this_thread::sleep_for(kInterval);
    LB_ASSIGN(const std::string text, round_of(dirs, options, before));
    if (redraw) std::fputs(kClearScreen, stdout);
    std::fwrite(text.data(), 1, text.size(), stdout);
    if (std::fflush(stdout) != 0 || options.no_stream) return {};
  }
}

}  // namespace layerboot::launcher
