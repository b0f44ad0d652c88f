// `layerboot package`, and `packaged`, which its images run.

#include "launcher/cli/options_parts.h"

namespace layerboot::launcher {

void add_package_commands(CommandSet& commands) {
  Options& options = commands.options();
  auto* package =
      commands.add("package", Command::kPackage,
                   "make a container image that boots an image when docker, podman or a kubelet runs it");
  package
      ->add_option("IMAGE", options.image, "a name such as debian:12, fetched if need be, or oci:DIR[:TAG]")
      ->required();
  package
      ->add_option("-t,--tag", options.image_name, "what to call it, such as vm:1; default: only its digest")
      ->type_name("NAME");
  package
      ->add_option("--push", options.push_to,
                   "send it there as well: a registry's name, docker-daemon:NAME, containers-storage:NAME")
      ->type_name("DEST");
  package
      ->add_option("--base", options.base_image,
                   "an image with QEMU and the libraries of our programs; default: one of Debian's packages, "
                   "built once")
      ->type_name("IMAGE");
  add_pull_options(package, options);
  add_kernel_options(package, options);
  package->add_option("--vfsd", options.vfsd, "the vfsd to take")->type_name("FILE");
  package->footer(
      "What follows -- are options of run for each container of it: layerboot package app -t vm -- --memory "
      "2G\n"
      "Prints the image's digest. docker run -it vm boots it, without privilege; see layerboot(1).");
  auto* packaged =
      commands.add("packaged", Command::kPackaged, "be the VM in a container of a packaged image");
  packaged->footer("For the containers themselves: the words that follow are the guest's command.");
}

}  // namespace layerboot::launcher
