// ps and inspect.

#include <cstdio>

#include "launcher/cli/image_show.h"
#include "launcher/cli/time_text.h"
#include "launcher/cli/vm_commands.h"
#include "launcher/host/disk_usage.h"
#include "launcher/vm/vfsd_client.h"
#include "launcher/vm/vm_list.h"
#include "oci-mount/base/progress.h"
#include "oci-mount/store/image.h"

namespace layerboot::launcher {

namespace {

using nlohmann::json;

/// What a person wants to know of the state: since when, and how it ended.
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

json time_json(std::optional<std::int64_t> seconds) {
  if (!seconds) return nullptr;
  return utc_text(*seconds);
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

/// What the VM has written, where that is known without a walk through all of it.
json used_bytes_of(const VmView& vm) {
  if (!vm.record) return nullptr;
  const bool ephemeral = vm.record->run.ephemeral;
  if (vm.record->run.upper == UpperKind::kDisk) {
    const auto used =
        allocated_bytes(vm.is_live() && ephemeral ? vm.paths.ephemeral_upper_disk() : vm.paths.upper_disk());
    return used ? json(*used) : json();
  }
  if (vm.record->run.upper == UpperKind::kRam || !vm.is_live()) return nullptr;
  const auto quota = ask_vfsd(vm.paths.vfsd_socket(), {{"command", "quota"}});
  return quota && quota->contains("used_bytes") ? quota->at("used_bytes") : json();
}

std::string used_text(const VmView& vm) {
  const json used = used_bytes_of(vm);
  return used.is_number_unsigned() ? human_size(used.get<std::uint64_t>()) : "-";
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
  object["quota_bytes"] = upper_cap_bytes(vm.record->run, vm.record->quota_bytes);
  object["upper"] = upper_word(vm.record->run.upper);
  object["used_bytes"] = used_bytes_of(vm);
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
  object["image_digest"] = nullptr;
  if (vm.record->image.empty()) return object;
  const auto image = store::open_image(vm.record->image, dirs);
  if (image) {
    object["image_digest"] = image->manifest_digest.text();
  } else {
    object["image_error"] = image.error().describe();
  }
  return object;
}

void print(const json& document) {
  std::printf("%s\n", document.dump(2, ' ', false, json::error_handler_t::replace).c_str());
}

}  // namespace

Result<void> list_vms_command(const StateDirs& dirs, const Options& options) {
  LB_ASSIGN(const auto vms, list_vms(dirs));
  json list = json::array();
  if (!options.json && !options.names_only)
    std::printf("%-20s %-24s %5s %8s %8s %8s  %s\n", "NAME", "STATE", "CPUS", "MEMORY", "DISK", "USED",
                "IMAGE");
  for (const VmView& vm : vms) {
    if (!options.all && !vm.is_live()) continue;
    if (options.names_only) {
      std::printf("%s\n", vm.name.c_str());
      continue;
    }
    if (options.json) {
      list.push_back(ps_json(vm));
      continue;
    }
    if (!vm.record) {
      std::printf("%-20s %-24s %s\n", vm.name.c_str(), state_text(vm).c_str(),
                  vm.record.error().describe().c_str());
      continue;
    }
    std::printf("%-20s %-24s %5u %8s %8s %8s  %s\n", vm.name.c_str(), state_text(vm).c_str(),
                vm.record->run.cpus, human_size(vm.record->run.memory_bytes).c_str(),
                human_size(upper_cap_bytes(vm.record->run, vm.record->quota_bytes)).c_str(),
                used_text(vm).c_str(), vm.record->image.c_str());
  }
  if (options.json && !options.names_only) print(list);
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
