// `layerboot disk` and `layerboot export`.

#include "launcher/options_parts.h"

namespace layerboot::launcher {

void add_disk_commands(CommandSet& commands) {
  Options& options = commands.options();
  auto* disk = commands.add("disk", Command::kDisk, "make a disk file of an image");
  disk->add_option("IMAGE", options.image, "the image: oci:DIR[:TAG] or a name in the local store")
      ->required();
  disk->add_option("OUT", options.output, "the file to make; it must not exist")->required();
  add_choice<DiskFormat>(disk, "--format", options.disk_format,
                         {{"raw", DiskFormat::kRaw}, {"qcow2", DiskFormat::kQcow2}},
                         "raw (sparse, the default) or qcow2");
  add_size(
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
}

}  // namespace layerboot::launcher
