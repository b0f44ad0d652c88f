#include "launcher/vm/vm_list.h"

#include <algorithm>
#include <thread>
#include <utility>

namespace layerboot::launcher {

namespace {

using nlohmann::json;

json ask_supervisor(const VmPaths& paths) {
  // Enough between two runs; and not long where another command has the VM.
  constexpr std::chrono::milliseconds kMoment{200};
  auto client = supervisor_of(paths, kMoment);
  if (client ? !*client : client.error().code == EBUSY) return nullptr;
  auto status = client ? (*client)->ask({}) : Result<json>(std::unexpected(client.error()));
  if (!status) return json{{"state", "unknown"}, {"error", status.error().describe()}};
  return *std::move(status);
}

VmView view_of(const StateDirs& dirs, const std::string& name) {
  VmPaths paths(dirs, name);
  auto record = load_vm_record(paths);
  // In this order: a supervisor notes how its run ended before it can no longer be asked.
  json live = ask_supervisor(paths);
  auto last_run = load_last_run(paths.last_run());
  return {.name = name,
          .paths = std::move(paths),
          .record = std::move(record),
          .last_run = last_run ? *std::move(last_run) : std::nullopt,
          .live = std::move(live)};
}

}  // namespace

std::string VmView::state() const {
  if (!is_live()) return "stopped";
  const auto state = live.find("state");
  return state != live.end() && state->is_string() ? state->get<std::string>() : "unknown";
}

Result<VmView> look_at_vm(const StateDirs& dirs, const std::string& name) {
  LB_TRY(check_name(name));
  std::error_code error;
  if (!std::filesystem::is_directory(VmPaths(dirs, name).state, error)) {
    return std::unexpected(no_such_vm(dirs, name));
  }
  return view_of(dirs, name);
}

Result<std::optional<ControlClient>> supervisor_of(const VmPaths& paths, std::chrono::milliseconds patience) {
  constexpr std::chrono::milliseconds kInterval{20};
  const auto end = std::chrono::steady_clock::now() + patience;
  for (;;) {
    // In this order: who holds it now may listen by the time that is asked.
    const bool held = is_held(paths);
    auto client = ControlClient::connect(paths.control_socket());
    if (client) return std::optional(*std::move(client));
    if (!is_nobody(client.error())) return std::unexpected(client.error());
    if (!held) return std::nullopt;
    if (std::chrono::steady_clock::now() >= end) {
      return fail(EBUSY, "VM ", paths.state.filename().string(),
                  " is being started, or another command works on it: try again");
    }
    std::this_thread::sleep_for(kInterval);
  }
}

Result<std::vector<std::string>> vm_names(const StateDirs& dirs) {
  std::vector<std::string> names;
  std::error_code error;
  for (auto it = std::filesystem::directory_iterator(dirs.vms(), error);
       !error && it != std::filesystem::directory_iterator(); it.increment(error)) {
    std::string name = it->path().filename().string();
    if (check_name(name)) names.push_back(std::move(name));
  }
  if (error && error != std::errc::no_such_file_or_directory) {
    return fail(error.value(), "cannot list ", dirs.vms().string(), ": ", error.message());
  }
  std::ranges::sort(names);
  return names;
}

Result<std::vector<VmView>> list_vms(const StateDirs& dirs) {
  LB_ASSIGN(const auto names, vm_names(dirs));
  std::vector<VmView> vms;
  for (const std::string& name : names) vms.push_back(view_of(dirs, name));
  return vms;
}

}  // namespace layerboot::launcher
