#include "launcher/cli/export_command.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <filesystem>
#include <string_view>
#include <system_error>

#include "launcher/export/systemd_unit.h"
#include "launcher/host/programs.h"
#include "launcher/images/image_name.h"
#include "launcher/images/image_supply.h"
#include "launcher/vm/vm_list.h"
#include "oci-mount/base/absolute_path.h"
#include "oci-mount/base/log.h"
#include "oci-mount/store/image.h"

namespace layerboot::launcher {

namespace {

void print(const std::string& text) { std::fwrite(text.data(), 1, text.size(), stdout); }

/// "registry.example/team/web:1" gives "web".
std::string name_from_image(const std::string& image) {
  const auto slash = image.rfind('/');
  std::string name = image.substr(slash == std::string::npos ? 0 : slash + 1);
  name.erase(std::min(name.size(), name.find_first_of(":@")));
  std::ranges::replace_if(name, [](char c) { return c == '.' || c == '_'; }, '-');
  return name;
}

/// What goes with the VM, what is the cluster's to say (who has KVM, what is restarted), and what is only for
/// lists here.
constexpr auto kSaidElsewhere = std::to_array<std::string_view>(
    {"cpus", "memory_bytes", "environment", "command", "published", "publish_all", "accel", "require_kvm",
     "restart", "remove_at_end", "labels", "disk_format"});

/// What cannot go with the VM is said.
void take_vm(const VmRecord& record, KubernetesSet& set) {
  set.cpus = record.run.cpus;
  set.memory_bytes = record.run.memory_bytes;
  if (set.disk_bytes == 0) set.disk_bytes = record.quota_bytes;
  set.environment = record.run.environment;
  set.command = record.run.guest_command;
  if (set.ports.empty()) set.ports = record.run.published;
  std::string left_out;
  for (const std::string& option : settings_beside(record.run, kSaidElsewhere))
    left_out += str_cat(left_out.empty() ? "" : ", ", option);
  if (!left_out.empty())
    log_warn("left out is what the VM has by ", left_out,
             ": package the image with it, or add it to the manifests");
}

/// Of a packaged image that the local store has; what the cluster has need not be here.
Result<void> take_image_ports(const StateDirs& dirs, KubernetesSet& set) {
  const auto here = supply_image(dirs, set.image, {.policy = PullPolicy::kNever});
  if (!here || !set.ports.empty()) return {};
  const auto image = store::open_image(*here, dirs);
  if (!image) return {};
  RunSettings settings;
  publish_exposed_in_place(image->config.exposed_ports, settings);
  set.ports = settings.published;
  // By options of its own, perhaps, which lead elsewhere than to the same port of the guest.
  set.image_forwards = true;
  return {};
}

}  // namespace

Result<void> export_systemd(const StateDirs& dirs, const Options& options) {
  LB_ASSIGN(const VmView vm, look_at_vm(dirs, options.name));
  LB_ASSIGN(const VmRecord record, vm.record);
  if (record.image.empty()) {
    return fail(EINVAL, "VM ", options.name,
                " was run on somebody else's daemon, which its service would not start");
  }
  if (vm.is_live() && record.run.remove_at_end)
    return fail(EINVAL, "VM ", options.name, " was run with --rm: at its end there is nothing left to start");
  SystemdService service;
  service.name = options.name;
  LB_ASSIGN(service.layerboot, own_program());
  const std::pair<const char*, const std::filesystem::path*> programs[] = {
      {"--vfsd", &options.vfsd}, {"--guest-init", &options.guest_init}, {"--qemu", &options.qemu}};
  for (const auto& [option, path] : programs) {
    if (path->empty()) continue;
    service.options.emplace_back(option);
    LB_ASSIGN(const auto whole, absolute_path(*path));
    service.options.push_back(whole.string());
  }
  service.dirs = dirs;
  service.is_user = ::geteuid() != 0;
  service.run = record.run;
  service.image = record.image;
  LB_ASSIGN(const std::string unit, systemd_unit(service));
  print(unit);
  return {};
}

Result<void> export_kubernetes(const StateDirs& dirs, const Options& options) {
  KubernetesSet set = options.kubernetes;
  set.ports = options.published;
  const auto vm = look_at_vm(dirs, options.name);
  if (vm && !vm->record && vm->record.error().code != ENOENT) return std::unexpected(vm->record.error());
  if (vm && vm->record) {
    if (set.image.empty()) {
      return fail(EINVAL, "export kubernetes: give the packaged image of VM ", options.name,
                  " by --image, as the cluster is to pull it");
    }
    if (set.name.empty()) set.name = options.name;
    take_vm(*vm->record, set);
  } else {
    if (set.image.empty()) set.image = options.name;
    if (set.name.empty()) set.name = name_from_image(set.image);
    LB_TRY(parse_image_name(set.image));
    LB_TRY(take_image_ports(dirs, set));
  }
  set.cpus = options.kubernetes.given_cpus.value_or(set.cpus);
  set.memory_bytes = options.kubernetes.given_memory_bytes.value_or(set.memory_bytes);
  if (set.disk_bytes == 0) set.disk_bytes = kDefaultQuotaBytes;
  LB_ASSIGN(const std::string text, kubernetes_manifests(set));
  print(text);
  return {};
}

}  // namespace layerboot::launcher
