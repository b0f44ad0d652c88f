// The commands that make images and send them away: commit, build, push, save and load.

#include "launcher/cli/options_parts.h"
#include "launcher/images/image_change.h"

namespace layerboot::launcher {

namespace {

void add_commit(CommandSet& commands) {
  Options& options = commands.options();
  CommitOptions& commit = options.commit;
  auto* command = commands.add("commit", Command::kCommit, "make an image of a VM",
                               [](Options& given) { return check_name(given.name); });
  command->add_option("VM", options.name, "its name, as ps shows it")->required()->type_name("NAME");
  command->add_option("NAME", options.image_name,
                      "what the local store is to call it, such as web:2; default: only its digest");
  command
      ->add_option("-c,--change", commit.changes,
                   "an instruction such as 'CMD [\"nginx\"]' or 'ENV A=1' (may be repeated)")
      ->allow_extra_args(false)
      ->type_name("INSTRUCTION");
  command->add_option("-a,--author", commit.author, "who made it")->type_name("TEXT");
  command->add_option("-m,--message", commit.message, "what was done, for its history")->type_name("TEXT");
  command->add_flag("--squash", commit.squash, "all of the image in one layer");
  command
      ->add_option("--compression", commit.compression,
                   "of the new layer: gzip, which every reader takes (the default), or zstd")
      ->check(CLI::IsMember({"gzip", "zstd"}))
      ->type_name("gzip|zstd");
  command->add_flag(
      "--keep-identity", commit.keep_identity,
      "also what belongs to this VM alone: machine-id, host name, ssh host keys, random seeds, /run, /tmp");
  command->add_flag("--pause", options.pause,
                    "also of a VM that runs, which is held still while what it has written is read");
  command->add_flag(
      "--rebase", options.rebase,
      "the VM goes on from the new image, which has its identity too, and what it has written is "
      "thrown away");
  command->add_option("--oci-mount", options.oci_mount, "the oci-mount to read the VM's files by")
      ->type_name("FILE");
  command->footer(str_cat("Prints the new image's digest. INSTRUCTION is one of ", kChangeWords,
                          ".\nWith SOURCE_DATE_EPOCH set, the same files give the same image, bit by bit."));
}

void add_build(CommandSet& commands) {
  Options& options = commands.options();
  BuildOptions& build = options.build;
  auto* command = commands.add("build", Command::kBuild, "build an image from a Containerfile");
  command->add_option("CONTEXT", build.context, "the directory that COPY copies from")
      ->required()
      ->type_name("DIR");
  command
      ->add_option("-t,--tag", options.image_name, "what to call it, such as app:1; default: only its digest")
      ->type_name("NAME");
  command
      ->add_option("-f,--file", build.file, "the Containerfile; default: CONTEXT/Containerfile or Dockerfile")
      ->type_name("FILE");
  command->add_option("--build-arg", build.arguments, "a value for an ARG (may be repeated)")
      ->allow_extra_args(false)
      ->type_name("NAME=VALUE");
  command->add_option("--platform", options.pull_platform, "another machine's than this one's")
      ->type_name("OS/ARCH");
  command->add_flag("--no-cache", build.no_cache, "every step anew");
  command->add_flag("--vm", build.in_vm,
                    "each RUN in a VM of the image so far, with its init and a kernel: for what no container "
                    "can do");
  command->add_option("--oci-mount", options.oci_mount, "with --vm: the oci-mount to read what VMs wrote by")
      ->type_name("FILE");
  add_tls_options(command, options);
  command->footer(
      "By buildah, which keeps its own storage in DATA/build, or, with --vm, by VMs; a step that has not "
      "changed is\n"
      "not done again. What follows -- are options of run for these VMs: layerboot build --vm . -- --memory "
      "2G\n"
      "Prints the image's digest: layerboot build . | layerboot run");
}

void add_with_identity(CLI::App* command, Options& options) {
  command->add_flag(
      "--with-identity", options.with_identity,
      "also an image that has a VM's identity, such as its ssh host keys (commit --rebase), or its "
      "--password");
}

void add_push(CommandSet& commands) {
  Options& options = commands.options();
  auto* push = commands.add("push", Command::kPush, "send an image of the local store to a registry");
  push->add_option("IMAGE", options.image, "its name, or the beginning of its digest")->required();
  push->add_option(
      "DEST", options.image_name,
      "where to: localhost:5000/app:1, docker-daemon:NAME, containers-storage:NAME; default: by its name");
  add_with_identity(push, options);
  add_tls_options(push, options);
  push->footer(
      "By skopeo, with the credentials that it finds (skopeo login). What is there is not sent again.");
}

void add_archives(CommandSet& commands) {
  Options& options = commands.options();
  auto* save = commands.add("save", Command::kSave, "write an image of the local store into an archive");
  save->add_option("IMAGE", options.image, "its name, or the beginning of its digest")->required();
  save->add_option("-o,--output", options.output, "the file; default: standard output")->type_name("FILE");
  add_choice<ArchiveKind>(save, "--format", options.archive_kind,
                          {{"oci-archive", ArchiveKind::kOci}, {"docker-archive", ArchiveKind::kDocker}},
                          "oci-archive (the default), or docker-archive for docker load");
  add_with_identity(save, options);
  auto* load = commands.add("load", Command::kLoad, "take the images of an archive into the local store");
  load->add_option("NAME", options.image_name, "what to call its only image; default: as it is called there");
  load->add_option("-i,--input", options.input, "the file, of either kind; default: standard input")
      ->type_name("FILE");
}

}  // namespace

void add_image_commands(CommandSet& commands) {
  add_commit(commands);
  add_build(commands);
  add_push(commands);
  add_archives(commands);
}

}  // namespace layerboot::launcher
