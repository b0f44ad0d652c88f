// `layerboot pull`, `images`, `rmi` and `gc`.

#include "launcher/cli/options_parts.h"

namespace layerboot::launcher {

void add_store_commands(CommandSet& commands) {
  Options& options = commands.options();
  auto* pull = commands.add("pull", Command::kPull, "fetch an image from a registry into the local store");
  pull->add_option("IMAGE", options.image, "such as debian:12 or localhost:5000/app:1")->required();
  auto* verify = pull->add_flag("--tls-verify", options.tls_verify,
                                "=false: take plain http, or a certificate that nobody signed");
  pull->add_flag_callback(
          "--no-tls-verify", [&options] { options.tls_verify = false; }, "as --tls-verify=false")
      ->excludes(verify);
  pull->footer("By skopeo, with the credentials that it finds (skopeo login).");
  auto* images = commands.add("images", Command::kImages, "list the images in the local store");
  images->add_flag("--json", options.json, "one JSON document instead of columns");
  images->add_flag("--names", options.names_only, "the names alone, for scripts");
  auto* rmi =
      commands.add("rmi", Command::kRmi, "forget an image of the local store; gc then frees its space");
  rmi->add_option("IMAGE", options.image, "its name in the local store")->required();
  commands.add("gc", Command::kGc, "remove blobs and indexes that no image needs any more");
}

}  // namespace layerboot::launcher
