// ps and inspect.

#include <cstdio>

#include "launcher/cli/columns.h"
#include "launcher/cli/image_show.h"
#include "launcher/cli/vm_commands.h"
#include "launcher/cli/vm_rows.h"
#include "launcher/cli/written_content.h"
#include "launcher/host/disk_usage.h"
#include "launcher/host/time_text.h"
#include "launcher/vm/vm_list.h"
#include "oci-mount/store/image.h"
#include "oci-mount/store/json_document.h"

namespace layerboot::launcher {

namespace {

using nlohmann::json;

json time_json(std::optional<std::int64_t> unix_seconds) {
  if (!unix_seconds) return nullptr;
  return utc_text(*unix_seconds);
}

json last_run_json(const VmView& vm) {
  if (!vm.last_run) return nullptr;
  return {{"started", time_json(vm.last_run->started)},
          {"ended", time_json(vm.last_run->ended)},
          {"exit_status", vm.last_run->ended ? json(vm.last_run->exit_status) : json()},
          {"error", vm.last_run->error}};
}

json pid_of(const VmView& vm, const char* key) {
  if (!vm.is_live()) return nullptr;
  const auto it = vm.live.find(key);
  return it == vm.live.end() ? json() : *it;
}

json ps_json(const VmView& vm) {
  json object = {
      {"name", vm.name}, {"state", vm.state()}, {"pid", pid_of(vm, "pid")}, {"last_run", last_run_json(vm)}};
  if (!vm.record) {
    object["error"] = vm.record.error().describe();
    return object;
  }
  object["image"] = vm.record->image;
  object["cpus"] = vm.record->run.cpus;
  object["memory_bytes"] = vm.record->run.memory_bytes;
  object["swap_bytes"] = vm.record->run.swap_bytes;
  object["quota_bytes"] = upper_cap_bytes(vm.record->run, vm.record->quota_bytes);
  object["upper"] = upper_word(vm.record->run.upper);
  object["used_bytes"] = used_bytes_of(vm);
  object["labels"] = vm.record->run.labels;
  return object;
}

/// Of a guest that keeps what it writes by itself: the file on the host, or nothing.
json guest_upper_json(const VmView& vm) {
  const bool on_disk = vm.record->run.upper == UpperKind::kDisk;
  return {{"path", on_disk ? json(vm.paths.upper_disk().string()) : json()},
          {"quota_bytes", upper_cap_bytes(vm.record->run, vm.record->quota_bytes)},
          {"used_bytes", used_bytes_of(vm)}};
}

json disk_json(const VmView& vm) {
  if (vm.record && vm.record->run.upper != UpperKind::kHost) return guest_upper_json(vm);
  json disk = {{"path", vm.paths.upper().string()}};
  if (vm.record) disk["quota_bytes"] = vm.record->quota_bytes;
  const auto usage = disk_usage(vm.paths.upper());
  if (usage) {
    disk["used_bytes"] = usage->size_bytes;
    disk["inodes"] = usage->inodes;
    disk["complete"] = usage->complete;
  } else {
    disk["error"] = usage.error().describe();
  }
  return disk;
}

json inspect_json(const StateDirs& dirs, const VmView& vm) {
  json object = ps_json(vm);
  object["disk"] = disk_json(vm);
  object.erase("quota_bytes");
  object.erase("used_bytes");
  object.erase("cpus");
  object.erase("memory_bytes");
  object["qemu_pid"] = pid_of(vm, "qemu_pid");
  object["daemons"] = pid_of(vm, "daemons");
  object["timing"] = pid_of(vm, "timing");
  object["directory"] = vm.paths.state.string();
  object["console_log"] = vm.paths.console_log().string();
  object["control_socket"] = vm.is_live() ? json(vm.paths.control_socket().string()) : json();
  if (!vm.record) return object;
  object["machine_id"] = vm.record->machine_id;
  object["run"] = settings_to_json(vm.record->run);
  // For whoever may read config.json, not for what is pasted into a report.
  object["run"].erase("root_password_hash");
  object["image_digest"] = nullptr;
  if (vm.record->image.empty()) return object;
  // Looking unpacks nothing.
  const auto image =
      store::open_image(image_to_go_on_from(dirs, *vm.record), dirs,
                        {.platform = image_platform(vm.record->run), .unpacking = store::Unpacking::kNever});
  if (image) {
    object["image_digest"] = image->manifest_digest.text();
  } else {
    object["image_error"] = image.error().describe();
  }
  return object;
}

void print(const json& document) { std::printf("%s\n", store::json_text(document, 2).c_str()); }

}  // namespace

Result<void> list_vms_command(const StateDirs& dirs, const Options& options) {
  LB_ASSIGN(auto vms, list_vms(dirs));
  LB_ASSIGN(const auto filters, parse_vm_filters(options.filters));
  const bool all = options.all || filters_want_stopped(filters);
  std::erase_if(vms,
                [&](const VmView& vm) { return (!all && !vm.is_live()) || !passes_filters(vm, filters); });
  LB_ASSIGN(const auto format, ListTemplate<VmRow>::parse(options.format, vm_fields()));
  json list = json::array();
  std::vector<VmRow> rows;
  std::string text;
  for (VmView& vm : vms) {
    if (options.names_only) {
      text += vm.name + '\n';
    } else if (options.json) {
      list.push_back(ps_json(vm));
    } else {
      rows.push_back({.vm = std::move(vm), .whole_names = options.no_trunc});
    }
  }
  if (options.json && !options.names_only) {
    print(list);
    return {};
  }
  if (format.is_given()) {
    text += format.text(rows);
  } else if (!options.names_only) {
    std::vector<std::vector<std::string>> cells = {vm_heading()};
    for (const VmRow& row : rows) cells.push_back(vm_cells(row));
    text = columns(cells);
  }
  std::fwrite(text.data(), 1, text.size(), stdout);
  return {};
}

Result<void> inspect_vms(const StateDirs& dirs, const Options& options) {
  json list = json::array();
  for (const std::string& name : options.names) {
    // No VM is called what could not name one.
    if (check_name(name)) {
      const auto vm = look_at_vm(dirs, name);
      if (vm) list.push_back(inspect_json(dirs, *vm));
      if (vm) continue;
      if (vm.error().code != ENOENT) return std::unexpected(vm.error());
    }
    auto image = inspect_image(dirs, name);
    if (!image && image.error().code == ENOENT)
      return fail(ENOENT, "neither a VM nor an image is called \"", name, "\": ", image.error().text);
    if (!image) return std::unexpected(image.error());
    list.push_back(std::move(*image));
  }
  print(list);
  return {};
}

}  // namespace layerboot::launcher
