// ps and inspect.

#include <array>
#include <cstdio>
#include <ctime>

#include "launcher/cli/vm_commands.h"
#include "launcher/host/disk_usage.h"
#include "launcher/vm/vm_list.h"
#include "oci-mount/base/progress.h"
#include "oci-mount/store/image.h"

namespace layerboot::launcher {

namespace {

using nlohmann::json;

/// "3 s", "5 min", "7 h", "12 d": the largest unit that is not 0.
std::string span_text(std::int64_t seconds) {
  struct Unit {
    std::int64_t seconds;
    const char* name;
  };
  constexpr std::array<Unit, 4> kUnits = {{{86'400, "d"}, {3600, "h"}, {60, "min"}, {1, "s"}}};
  for (const Unit& unit : kUnits) {
    if (seconds >= unit.seconds) return str_cat(seconds / unit.seconds, ' ', unit.name);
  }
  return "0 s";
}

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
  const auto time = static_cast<std::time_t>(*seconds);
  std::tm parts{};
  ::gmtime_r(&time, &parts);
  std::array<char, 32> text{};
  const auto size = std::strftime(text.data(), text.size(), "%Y-%m-%dT%H:%M:%SZ", &parts);
  return std::string(text.data(), size);
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
  object["quota_bytes"] = vm.record->quota_bytes;
  return object;
}

json disk_json(const VmView& vm) {
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
    std::printf("%-20s %-24s %5s %8s %8s  %s\n", "NAME", "STATE", "CPUS", "MEMORY", "DISK", "IMAGE");
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
    std::printf("%-20s %-24s %5u %8s %8s  %s\n", vm.name.c_str(), state_text(vm).c_str(), vm.record->run.cpus,
                human_size(vm.record->run.memory_bytes).c_str(), human_size(vm.record->quota_bytes).c_str(),
                vm.record->image.c_str());
  }
  if (options.json && !options.names_only) print(list);
  return {};
}

Result<void> inspect_vms(const StateDirs& dirs, const Options& options) {
  json list = json::array();
  for (const std::string& name : options.names) {
    LB_ASSIGN(const VmView vm, look_at_vm(dirs, name));
    list.push_back(inspect_json(dirs, vm));
  }
  print(list);
  return {};
}

}  // namespace layerboot::launcher
