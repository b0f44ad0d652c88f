// `layerboot export systemd` and `export kubernetes`.

#include "launcher/cli/options_parts.h"

namespace layerboot::launcher {

namespace {

void add_export_systemd(CommandSet& commands, CLI::App* group) {
  Options& options = commands.options();
  auto* exported = commands.add_to(group, "systemd", Command::kExportSystemd,
                                   "print a VM as a hardened service of systemd's",
                                   [](Options& given) { return check_name(given.name); });
  exported->add_option("VM", options.name, "its name, as ps --all shows it")->required()->type_name("NAME");
  exported->add_option("--vfsd", options.vfsd, "the vfsd to take")->type_name("FILE");
  exported->add_option("--guest-init", options.guest_init, "the guest-init to take")->type_name("FILE");
  exported->add_option("--qemu", options.qemu, "the QEMU to start")->type_name("FILE");
  exported->footer(
      "layerboot export systemd web > /etc/systemd/system/web.service; systemctl enable --now web\n"
      "The VM is started as it was last run. An ordinary user's is for systemctl --user, in\n"
      "~/.config/systemd/user.");
}

void add_set_options(CLI::App* exported, KubernetesOptions& set) {
  exported->add_option("--image", set.image, "the packaged image of a VM, as the cluster pulls it");
  exported->add_option("--name", set.name, "of the set; default: the VM's, or the image's")
      ->type_name("NAME");
  exported->add_option("--namespace", set.space, "default: that of whoever applies it")->type_name("NAME");
  exported->add_option("--replicas", set.replicas, "VMs, each with a disk of its own")->capture_default_str();
  exported->add_option("--cpus", set.given_cpus, "processors of each; default: the VM's, or 1")
      ->check(CLI::Range(1U, kMaxCpus))
      ->type_name("N");
  add_size(
      exported, "-m,--memory", [&set](std::uint64_t bytes) { set.given_memory_bytes = bytes; },
      "memory of each guest; default: the VM's, or 1G", kMinMemoryBytes);
  add_disk_size(
      exported, "--disk", [&set](std::uint64_t bytes) { set.disk_bytes = bytes; },
      "what each may write; default: the VM's, or 4G");
  exported->add_option("--storage-class", set.storage_class, "of the claims; default: the cluster's")
      ->type_name("NAME");
}

void add_export_kubernetes(CommandSet& commands, CLI::App* group) {
  Options& options = commands.options();
  KubernetesOptions& set = options.kubernetes;
  auto* exported = commands.add_to(group, "kubernetes", Command::kExportKubernetes,
                                   "print a Service and a StatefulSet of a packaged image");
  exported
      ->add_option("VM", options.name,
                   "a VM, whose settings they take, with --image; or an image made by package")
      ->required()
      ->type_name("VM|IMAGE");
  add_set_options(exported, set);
  exported
      ->add_option_function<std::string>(
          "--kvm",
          [&set](const std::string& word) {
            if (word == "generic") set.kvm_resource = kGenericKvmResource;
            if (word == "kubevirt") set.kvm_resource = kKubevirtKvmResource;
            if (word == "none") set.kvm_resource.clear();
            if (word.find('/') != std::string::npos) set.kvm_resource = word;
            if (word.find('/') == std::string::npos && word != "generic" && word != "kubevirt" &&
                word != "none")
              throw CLI::ValidationError("--kvm",
                                         "generic, kubevirt, none, or a resource such as squat.ai/kvm");
          },
          "who hands out /dev/kvm: generic-device-plugin (the default), KubeVirt, none for emulated guests, "
          "or "
          "a resource's name")
      ->type_name("generic|kubevirt|none|RESOURCE");
  exported->add_option("--kvm-group", set.kvm_group, "the number of the group that may use /dev/kvm on nodes")
      ->type_name("GID");
  exported
      ->add_option_function<std::vector<std::string>>(
          "-p,--publish",
          [&options](const std::vector<std::string>& texts) {
            for (const auto& text : texts) {
              const auto ports = parse_published(text);
              if (!ports) throw CLI::ValidationError("--publish", ports.error().describe());
              options.published.insert(options.published.end(), ports->begin(), ports->end());
            }
          },
          "a port of the guest; default: the VM's, or what the image exposes (may be repeated)")
      ->allow_extra_args(false)
      ->type_name("PORT");
  exported->footer("layerboot export kubernetes registry.example/vm:1 | kubectl apply -f -");
}

}  // namespace

void add_further_exports(CommandSet& commands, CLI::App* group) {
  add_export_systemd(commands, group);
  add_export_kubernetes(commands, group);
}

}  // namespace layerboot::launcher
