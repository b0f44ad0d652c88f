#include "launcher/cli/vm_rows.h"

#include <fnmatch.h>

#include <array>

#include "launcher/host/disk_usage.h"
#include "launcher/host/time_text.h"
#include "launcher/vm/vfsd_client.h"
#include "oci-mount/base/printable.h"
#include "oci-mount/base/progress.h"

namespace layerboot::launcher {

namespace {

using nlohmann::json;

constexpr std::size_t kShownImageBytes = 40;

std::string used_text(const VmView& vm) {
  const json used = used_bytes_of(vm);
  return used.is_number_unsigned() ? human_size(used.get<std::uint64_t>()) : "-";
}

/// An empty one of a VM whose record can't be read.
const RunSettings& run_of(const VmRow& row) {
  static const RunSettings none;
  return row.vm.record ? row.vm.record->run : none;
}

std::string name(const VmRow& row) { return row.vm.name; }
std::string state(const VmRow& row) { return row.vm.state(); }
std::string status(const VmRow& row) { return state_text(row.vm); }
std::string image(const VmRow& row) {
  std::string text = row.vm.record ? printable_whole(row.vm.record->image) : "";
  // The end of a path tells more than its beginning.
  if (!row.whole_names && text.size() > kShownImageBytes)
    text = "…" + text.substr(text.size() - kShownImageBytes);
  return text;
}
std::string cpus(const VmRow& row) { return row.vm.record ? std::to_string(run_of(row).cpus) : "-"; }
std::string memory(const VmRow& row) { return row.vm.record ? human_size(run_of(row).memory_bytes) : "-"; }
std::string swap_size(const VmRow& row) {
  return run_of(row).swap_bytes == 0 ? "-" : human_size(run_of(row).swap_bytes);
}
std::string disk(const VmRow& row) {
  if (!row.vm.record) return "-";
  return human_size(upper_cap_bytes(row.vm.record->run, row.vm.record->quota_bytes));
}
std::string used(const VmRow& row) { return used_text(row.vm); }
std::string ports(const VmRow& row) {
  std::string text;
  for (const PublishedPort& port : run_of(row).published) {
    text += str_cat(text.empty() ? "" : ", ", port.address, ":", port.host, "->", port.guest,
                    port.udp ? "/udp" : "/tcp");
  }
  return text;
}
std::string labels(const VmRow& row) { return labels_text(run_of(row).labels); }
std::string upper(const VmRow& row) { return upper_word(run_of(row).upper); }
std::string pid(const VmRow& row) {
  const auto at = row.vm.live.find("pid");
  return row.vm.is_live() && at != row.vm.live.end() ? at->dump() : "";
}
std::string problem(const VmRow& row) { return row.vm.record ? "" : row.vm.record.error().describe(); }

constexpr std::array kFields = {ListField<VmRow>{"Name", name},      ListField<VmRow>{"State", state},
                                ListField<VmRow>{"Status", status},  ListField<VmRow>{"Image", image},
                                ListField<VmRow>{"CPUs", cpus},      ListField<VmRow>{"Memory", memory},
                                ListField<VmRow>{"Disk", disk},      ListField<VmRow>{"Used", used},
                                ListField<VmRow>{"Ports", ports},    ListField<VmRow>{"Labels", labels},
                                ListField<VmRow>{"Upper", upper},    ListField<VmRow>{"PID", pid},
                                ListField<VmRow>{"Swap", swap_size}, ListField<VmRow>{"Problem", problem}};

/// All that VmView::state() may say.
constexpr std::array<std::string_view, 8> kStates = {"running", "paused",  "starting",   "stopping",
                                                     "stopped", "serving", "restarting", "unknown"};

Result<ListFilter> parse_filter(const std::string& text) {
  ListFilter filter = split_filter(text);
  // Docker's words.
  if (filter.key == "status") filter.key = "state";
  if (filter.key == "ancestor") filter.key = "image";
  if (filter.key == "state" && filter.value == "exited") filter.value = "stopped";
  const bool known = filter.key == "name" || filter.key == "image" || filter.key == "label" ||
                     (filter.key == "state" && std::ranges::find(kStates, filter.value) != kStates.end());
  if (known && !filter.value.empty()) return filter;
  return fail(
      EINVAL, "--filter ", text,
      ": write name=PATTERN, image=PATTERN, label=NAME[=VALUE], or state= with running, paused, starting, "
      "stopping, stopped, restarting, serving or unknown");
}

bool passes(const VmView& vm, const ListFilter& filter) {
  if (filter.key == "state") return vm.state() == filter.value;
  // As Docker's, a part of the name is enough.
  if (filter.key == "name")
    return ::fnmatch(str_cat('*', filter.value, '*').c_str(), vm.name.c_str(), 0) == 0;
  if (!vm.record) return false;
  if (filter.key == "image")
    return ::fnmatch(str_cat('*', filter.value, '*').c_str(), vm.record->image.c_str(), 0) == 0;
  return has_label(vm.record->run.labels, filter.value);
}

}  // namespace

std::span<const ListField<VmRow>> vm_fields() { return kFields; }

Result<std::vector<ListFilter>> parse_vm_filters(const std::vector<std::string>& texts) {
  std::vector<ListFilter> filters;
  for (const std::string& text : texts) {
    LB_ASSIGN(filters.emplace_back(), parse_filter(text));
  }
  return filters;
}

Result<void> check_vm_list(Options& options) {
  LB_TRY(parse_vm_filters(options.filters));
  LB_TRY(ListTemplate<VmRow>::parse(options.format, kFields));
  return {};
}

bool passes_filters(const VmView& vm, const std::vector<ListFilter>& filters) {
  return pass_together(filters, [&](const ListFilter& filter) { return passes(vm, filter); });
}

bool filters_want_stopped(const std::vector<ListFilter>& filters) {
  return std::ranges::any_of(
      filters, [](const ListFilter& filter) { return filter.key == "state" && filter.value == "stopped"; });
}

std::vector<std::string> vm_heading() {
  return {"NAME", "STATE", "CPUS", "MEMORY", "DISK", "USED", "PORTS", "IMAGE"};
}

std::vector<std::string> vm_cells(const VmRow& row) {
  if (!row.vm.record) return {row.vm.name, status(row), "-", "-", "-", "-", "-", problem(row)};
  return {name(row), status(row), cpus(row), memory(row), disk(row), used(row), ports(row), image(row)};
}

json used_bytes_of(const VmView& vm) {
  if (!vm.record) return nullptr;
  const bool ephemeral = vm.record->run.ephemeral;
  if (vm.record->run.upper == UpperKind::kDisk) {
    const auto allocated =
        allocated_bytes(vm.is_live() && ephemeral ? vm.paths.ephemeral_upper_disk() : vm.paths.upper_disk());
    return allocated ? json(*allocated) : json();
  }
  if (vm.record->run.upper == UpperKind::kRam || !vm.is_live()) return nullptr;
  const auto quota = ask_vfsd(vm.paths.vfsd_socket(), {{"command", "quota"}});
  return quota && quota->contains("used_bytes") ? quota->at("used_bytes") : json();
}

std::string state_text(const VmView& vm) {
  const std::int64_t now = seconds_now();
  if (vm.is_live()) {
    return vm.last_run ? str_cat(vm.state(), ' ', span_text(now - vm.last_run->started)) : vm.state();
  }
  if (!vm.last_run) return "new";
  if (!vm.last_run->ended) return "stopped (killed)";
  std::string how;
  // Without words it is the exit code of the command that the VM ran.
  if (vm.last_run->exit_status != 0) {
    how = vm.last_run->error.empty() ? str_cat(" (exit ", vm.last_run->exit_status, ')') : " (failed)";
  }
  return str_cat("stopped", how, ' ', span_text(now - *vm.last_run->ended), " ago");
}

}  // namespace layerboot::launcher
