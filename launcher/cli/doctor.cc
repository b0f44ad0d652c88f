#include "launcher/cli/doctor.h"

#include <sys/utsname.h>

#include <cstdio>

#include "launcher/cli/doctor_checks.h"
#include "launcher/host/programs.h"
#include "launcher/kernel/kernel_choice.h"
#include "launcher/qemu/accel_probe.h"
#include "launcher/qemu/qemu_version.h"

namespace layerboot::launcher {

namespace {

Finding missing(std::string subject, const Error& error) {
  return {
      .subject = std::move(subject), .health = Health::kMissing, .detail = error.describe(), .remedy = {}};
}

Finding host() {
  utsname names{};
  ::uname(&names);
  return {.subject = "layerboot",
          .health = Health::kGood,
          .detail = str_cat(LAYERBOOT_VERSION ", on Linux ", std::string_view(names.release), ", ",
                            std::string_view(names.machine)),
          .remedy = {}};
}

Finding program(const char* subject, const Result<std::filesystem::path>& found) {
  if (!found) return missing(subject, found.error());
  return {.subject = subject, .health = Health::kGood, .detail = found->string(), .remedy = {}};
}

Finding qemu_finding(const Result<std::filesystem::path>& qemu) {
  if (!qemu) return missing("QEMU", qemu.error());
  const auto version = qemu_version(*qemu);
  if (!version) return missing("QEMU", version.error());
  return check_qemu_version(*version);
}

Finding kvm_finding(const StateDirs& dirs, const std::filesystem::path& qemu, const Kernel& kernel) {
  const AccelVerdict verdict = kvm_verdict(
      dirs,
      {.qemu = qemu, .vmlinuz = kernel.vmlinuz, .initrd = kernel.initrd, .kernel_release = kernel.release},
      true);
  if (verdict.kvm_works) {
    return {.subject = "KVM", .health = Health::kGood, .detail = verdict.reason, .remedy = {}};
  }
  return {.subject = "KVM",
          .health = Health::kLess,
          .detail = str_cat("does not work: ", verdict.reason, "; VMs are emulated, several times slower"),
          .remedy =
              "virtualisation on in the firmware or the outer VM, /dev/kvm in the container, and this user "
              "in the group kvm"};
}

/// Into `findings`: the kernel, and with it whether KVM works. What is not here yet is not fetched.
void find_kernel(const StateDirs& dirs, const Options& options, const Result<std::filesystem::path>& qemu,
                 std::vector<Finding>& findings) {
  if (const auto here = is_kernel_here(dirs, options.kernel); here && !*here) {
    findings.push_back(
        {.subject = "kernel",
         .health = Health::kLess,
         .detail = str_cat(options.kernel, " is not here yet, and KVM not tried for want of it"),
         .remedy = "layerboot kernel fetches it; so does the first run"});
    return;
  }
  const auto kernel = kernel_for(dirs, options.kernel, options.guest_init);
  if (!kernel) {
    findings.push_back(missing("kernel", kernel.error()));
    return;
  }
  findings.push_back({.subject = "kernel",
                      .health = Health::kGood,
                      .detail = str_cat(kernel->release, " (", kernel->vmlinuz.string(), ")"),
                      .remedy = {}});
  if (qemu) findings.push_back(kvm_finding(dirs, *qemu, *kernel));
}

}  // namespace

Result<int> doctor(const StateDirs& dirs, const Options& options) {
  const auto qemu = find_qemu(options.qemu);
  std::vector<Finding> findings = {host(),
                                   qemu_finding(qemu),
                                   program("vfsd", find_vfsd(options.vfsd)),
                                   program("guest-init", find_guest_init(options.guest_init)),
                                   check_io_uring(),
                                   check_memlock(),
                                   check_memory_bound(),
                                   check_user_namespaces(),
                                   check_network_namespace(),
                                   check_fuse(),
                                   check_state(dirs),
                                   check_runtime(dirs),
                                   check_privacy(dirs),
                                   check_tool("skopeo", "layerboot pull", "apt install skopeo"),
                                   check_tool("passt", "--net passt", "apt install passt")};
  for (const Architecture& architecture : architectures()) {
    if (is_foreign(architecture)) findings.push_back(check_foreign_machine(architecture));
  }
  findings.push_back(check_foreign_programs());
  find_kernel(dirs, options, qemu, findings);
  std::fputs((options.json ? findings_json(findings) : findings_text(findings)).c_str(), stdout);
  for (const Finding& finding : findings) {
    if (finding.health == Health::kMissing) return 1;
  }
  return 0;
}

}  // namespace layerboot::launcher
