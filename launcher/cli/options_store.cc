// The commands about the local store: `pull`, `images`, `tag`, `rmi`, `history`, `verify` and `gc`.

#include "launcher/cli/image_list.h"
#include "launcher/cli/options_parts.h"

namespace layerboot::launcher {

namespace {

void add_pull(CommandSet& commands) {
  Options& options = commands.options();
  auto* pull =
      commands.add("pull", Command::kPull, "take an image into the local store, from a registry or here");
  pull->add_option("IMAGE", options.image, "such as debian:12, localhost:5000/app:1, or debian@sha256:…")
      ->required();
  pull->add_option("NAME", options.image_name, "what to call it; needed where IMAGE has no name itself");
  pull->add_option("--platform", options.pull_platform, "another machine's than this one's")
      ->type_name("OS/ARCH");
  add_tls_options(pull, options);
  pull->footer(
      "By skopeo, with the credentials that it finds (skopeo login). IMAGE may also be docker-daemon:NAME "
      "or\n"
      "containers-storage:NAME, and with a NAME dir: (a skopeo copy), oci:, oci-archive: or docker-archive: "
      "files,\n"
      "compressed ones too. What is damaged in the store is fetched again.");
}

void add_images(CommandSet& commands) {
  Options& options = commands.options();
  auto* images =
      commands.add("images", Command::kImages, "list the images in the local store", check_image_list);
  auto* json = images->add_flag("--json", options.json, "one JSON document instead of columns");
  auto* names = images->add_flag("--names", options.names_only, "the names alone, for scripts");
  auto* tree = images->add_flag("--tree", options.image_tree, "by the layers that they share");
  tree->excludes(names);
  json->excludes(names);
  images
      ->add_option("--filter", options.filters,
                   "KEY=VALUE: reference=PATTERN, dangling, used or usable=true or false (may be repeated)")
      ->allow_extra_args(false)
      ->type_name("FILTER");
  images
      ->add_option("--format", options.format,
                   "json, table, or a line of your own: '[table ]{{.Repository}}:{{.Tag}} {{.ID}}'")
      ->type_name("TEMPLATE")
      ->excludes(tree)
      ->excludes(json)
      ->excludes(names);
  images->add_flag("--no-trunc", options.no_trunc, "whole digests");
  images->footer(str_cat("The fields of a TEMPLATE: ", image_list_fields()));
}

}  // namespace

void add_tls_options(CLI::App* command, Options& options) {
  auto* verify = command->add_flag("--tls-verify", options.tls_verify,
                                   "=false: take plain http, or a certificate that nobody signed");
  command
      ->add_flag_callback(
          "--no-tls-verify", [&options] { options.tls_verify = false; }, "as --tls-verify=false")
      ->excludes(verify);
}

void add_pull_options(CLI::App* command, Options& options) {
  add_choice<PullPolicy>(
      command, "--pull", options.pull_policy,
      {{"missing", PullPolicy::kMissing}, {"always", PullPolicy::kAlways}, {"never", PullPolicy::kNever}},
      "fetch the image if it is missing (the default), in any case, or never");
  add_tls_options(command, options);
}

void add_store_commands(CommandSet& commands) {
  Options& options = commands.options();
  add_pull(commands);
  add_images(commands);
  auto* tag = commands.add("tag", Command::kTag, "give an image of the local store one more name");
  tag->add_option("IMAGE", options.image, "its name, or the beginning of its digest")->required();
  tag->add_option("NAME", options.image_name, "the further name, such as app:1")->required();
  auto* rmi =
      commands.add("rmi", Command::kRmi, "forget images of the local store; gc then frees their space");
  rmi->add_option("IMAGE", options.names, "names, or the beginnings of digests")->required();
  rmi->add_flag("-f,--force", options.force, "all the names of an image that is named by its digest");
  auto* history = commands.add("history", Command::kHistory, "list an image's layers and what made them");
  history->add_option("IMAGE", options.image, "oci:DIR[:TAG], or a name in the local store")->required();
  history->add_flag("--json", options.json, "one JSON document instead of columns");
  history->add_flag("--no-trunc", options.no_trunc, "whole digests and commands");
  auto* verify =
      commands.add("verify", Command::kVerify, "read all that images of the local store consist of");
  verify->add_option("IMAGE", options.names, "names, or the beginnings of digests; default: all");
  verify->add_flag("--repair", options.repair, "fetch again what is missing or damaged");
  add_tls_options(verify, options);
  verify->footer(
      "Exit status: 0 all is as it should be, or is now; 1 something is not. oci-mount verify reads images\n"
      "elsewhere, and the indexes.");
  commands.add("gc", Command::kGc, "remove blobs and indexes that no image needs any more");
}

}  // namespace layerboot::launcher
