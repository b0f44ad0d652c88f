// `layerboot disk` and `layerboot export`.

#include "launcher/cli/options_parts.h"

namespace layerboot::launcher {

namespace {

void add_export_libvirt(CommandSet& commands, CLI::App* group) {
  Options& options = commands.options();
  auto* exported =
      commands.add_to(group, "libvirt", Command::kExportLibvirt, "print a VM as a domain's XML", settle_name);
  exported->add_option("VM", options.name, "its name")->required();
  auto* image = exported->add_option("--image", options.image, "make the VM from this image, if it is new");
  exported->add_flag("--disk-image", options.disk_root, "with its root on a disk")->needs(image);
  add_disk_size(
      exported, "--disk", [&options](std::uint64_t size_bytes) { options.quota_bytes = size_bytes; },
      "as with run")
      ->needs(image);
  exported
      ->add_option("--socket-path", options.socket_path,
                   "where the daemon of a virtiofs root will listen; default: as with serve")
      ->type_name("SOCKET");
  add_kernel_options(exported, options);
  exported->add_option("--oci-mount", options.oci_mount, "the oci-mount to make the disk by")
      ->type_name("FILE");
  add_choice<AccelChoice>(
      exported, "--accel", options.accel_choice,
      {{"auto", AccelChoice::kAuto}, {"kvm", AccelChoice::kKvm}, {"tcg", AccelChoice::kTcg}},
      "for which host: auto asks this one");
  exported->footer(
      "A virtiofs root needs its daemon: 'layerboot serve IMAGE --name VM --socket-path SOCKET', whenever "
      "the domain\n"
      "is started; it serves the VM's volumes as well. A disk root needs nothing but the files that the XML "
      "names, and\n"
      "has no volumes. Shared sockets are left out: they are the launcher's.");
}

Result<void> settle_gns3(Options& options) {
  LB_TRY(check_machine(options.gns3, options.gns3.registry_version));
  return settle_name(options);
}

void add_export_gns3(CommandSet& commands, CLI::App* group) {
  Options& options = commands.options();
  Gns3Options& gns3 = options.gns3;
  auto* exported = commands.add_to(group, "gns3", Command::kExportGns3,
                                   "make an appliance for GNS3 out of an image or a VM", settle_gns3);
  exported
      ->add_option("IMAGE", options.image,
                   "a name such as debian:12, fetched if need be, or oci:DIR[:TAG]; or a stopped VM, with "
                   "what it wrote")
      ->required();
  add_pull_options(exported, options);
  exported->add_option("-o,--output", options.output, "the directory for its files")
      ->required()
      ->type_name("DIR");
  exported->add_option("--name", options.name, "the appliance's name; default: from the image")
      ->type_name("NAME");
  exported
      ->add_option("--version", gns3.registry_version, "of the description: 8 is for GNS3 2.2.43 and later")
      ->check(CLI::IsMember({4, 8}))
      ->type_name("4|8")
      ->capture_default_str();
  exported
      ->add_option("--adapters", gns3.adapters, "network cards: up to 26, with --disk-interface ide up to 90")
      ->check(CLI::Range(0U, max_adapters("ide")))
      ->capture_default_str();
  exported->add_flag("--gns3-dhcp", gns3.dhcp,
                     "the first adapter asks for an address; the others are only up, as else all are");
  add_size(
      exported, "-m,--ram", [&gns3](std::uint64_t size_bytes) { gns3.memory_bytes = size_bytes; },
      "its memory; default: 512M", kMinMemoryBytes);
  exported->add_option("--cpus", gns3.cpus, "its processors")
      ->check(CLI::Range(1U, kMaxCpus))
      ->capture_default_str();
  add_disk_size(
      exported, "--size", [&options](std::uint64_t size_bytes) { options.disk_bytes = size_bytes; },
      "its disk's size; default: 4G");
  exported->add_option("--disk-interface", gns3.disk_interface, "how it is attached")
      ->check(CLI::IsMember({"virtio", "scsi", "sata", "ide"}))
      ->type_name("virtio|scsi|sata|ide")
      ->capture_default_str();
  exported->add_option("--category", gns3.category, "where GNS3 lists it")
      ->check(CLI::IsMember({"guest", "router", "multilayer_switch", "firewall"}))
      ->type_name("guest|router|multilayer_switch|firewall")
      ->capture_default_str();
  exported->add_option("--symbol", gns3.symbol, "its picture, one that GNS3 has")
      ->type_name("NAME")
      ->capture_default_str();
  exported->add_option("--kvm", gns3.kvm, "whether the host must have KVM")
      ->check(CLI::IsMember({"allow", "require", "disable"}))
      ->type_name("allow|require|disable")
      ->capture_default_str();
  add_kernel_options(exported, options);
  exported->add_option("--oci-mount", options.oci_mount, "the oci-mount to make the disk by")
      ->type_name("FILE");
  exported->footer(
      "Makes NAME.gns3a and NAME-DIGITS.qcow2, and beside them kernel, initrd and the kernel's modules, "
      "which all "
      "appliances\n"
      "share. In GNS3: File, Import appliance. Each node takes its name for its host name.");
}

/// What a file of this name is taken for; none when the name says nothing.
std::optional<DiskFormat> format_by_name(const std::filesystem::path& file) {
  const std::string extension = file.extension().string();
  if (extension == ".qcow2" || extension == ".qcow") return DiskFormat::kQcow2;
  if (extension == ".raw" || extension == ".img") return DiskFormat::kRaw;
  return std::nullopt;
}

/// A file's name and its content say the same, since QEMU's users go by the name.
Result<void> settle_disk(Options& options) {
  const auto named = format_by_name(options.output);
  const std::string extension = options.output.extension().string();
  for (const char* other : {".vmdk", ".vdi", ".vhd", ".vhdx"}) {
    if (extension == other) {
      return fail(EINVAL, "disk: ", options.output.string(), " asks for a format that is not made here: ",
                  "make a .raw or .qcow2, and convert it with qemu-img");
    }
  }
  if (named && options.disk_output_format && *named != *options.disk_output_format) {
    return fail(EINVAL, "disk: ", options.output.string(), " is the name of a ",
                *named == DiskFormat::kRaw ? "raw" : "qcow2",
                " file, which --format contradicts: leave one of them out");
  }
  if (!options.disk_output_format) options.disk_output_format = named.value_or(DiskFormat::kRaw);
  return {};
}

}  // namespace

void add_disk_commands(CommandSet& commands) {
  Options& options = commands.options();
  auto* disk = commands.add("disk", Command::kDisk, "make a disk file of an image", settle_disk);
  disk->add_option("IMAGE", options.image, "a name such as debian:12, fetched if need be, or oci:DIR[:TAG]")
      ->required();
  add_pull_options(disk, options);
  add_platform_option(disk, options,
                      "whose programs the image holds, if not this machine's: which of an image for several");
  disk->add_option("OUT", options.output, "the file to make; it must not exist")->required();
  disk->add_option_function<std::string>(
          "--format",
          [&options](const std::string& format) {
            options.disk_output_format = format == "raw" ? DiskFormat::kRaw : DiskFormat::kQcow2;
          },
          "raw (sparse) or qcow2; default: as OUT is called, else raw")
      ->check(CLI::IsMember({"raw", "qcow2"}))
      ->type_name("raw|qcow2");
  add_disk_size(
      disk, "--size", [&options](std::uint64_t size_bytes) { options.disk_bytes = size_bytes; },
      "the disk's size; default: 4G");
  disk->add_option("--fs", options.disk_file_system, "its file system: ext4")
      ->check(CLI::IsMember({"ext4"}))
      ->capture_default_str();
  disk->add_option("--oci-mount", options.oci_mount, "the oci-mount to read the image by")->type_name("FILE");
  disk->footer(
      "Needs no root and unpacks nothing: mkfs.ext4 reads the mounted image. What is made is kept and "
      "shared\n"
      "by VMs (run --disk-image). A VM on it needs a kernel from outside: see layerboot export.");
  CLI::App* exported = commands.add_group("export", "give a VM or an image to another engine");
  add_export_libvirt(commands, exported);
  add_export_gns3(commands, exported);
  add_further_exports(commands, exported);
}

}  // namespace layerboot::launcher
