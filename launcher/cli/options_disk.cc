// `layerboot disk` and `layerboot export`.

#include "launcher/cli/options_parts.h"

namespace layerboot::launcher {

namespace {

void add_export_command(CommandSet& commands) {
  Options& options = commands.options();
  auto* exported = commands.add("export", Command::kExportLibvirt,
                                "print a VM as another engine's definition", settle_name);
  exported->add_option("ENGINE", options.engine, "libvirt: its domain XML")
      ->required()
      ->check(CLI::IsMember({"libvirt"}));
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
  add_export_command(commands);
}

}  // namespace layerboot::launcher
