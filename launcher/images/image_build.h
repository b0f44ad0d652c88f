// An image built from a Containerfile, by buildah, into the local store.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "oci-mount/base/result.h"
#include "oci-mount/base/state_dirs.h"

namespace layerboot::launcher {

struct BuildOptions {
  std::filesystem::path context = ".";
  std::filesystem::path file;          // the Containerfile; empty: as buildah finds it in the context
  std::string name;                    // as the store is to call it; "": it goes by its digest
  std::vector<std::string> arguments;  // "NAME=VALUE", of --build-arg
  std::string platform;                // "linux/arm64"; "": this machine's
  bool no_cache = false;               // every step anew
  bool tls_verify = true;              // of the registries that FROM names
  bool show_progress = true;
  bool in_vm = false;  // by VMs of the image itself (build --vm)
};

/// The Containerfile, as it was found.
struct Recipe {
  std::filesystem::path file;
  std::string text;
};
/// ENOENT where there is none.
Result<Recipe> read_recipe(const BuildOptions& options);

/// Runs the builder, whose own words are its progress, on standard error. Its storage is apart (DATA/build),
/// and keeps the steps for the next build. Images that the Containerfile names are taken out of the store
/// where that has them, without asking a registry; the builder fetches the others. What comes out is copied
/// into the store, unless it is there already. Gives the image's digest. ENOENT, with how to get it, where
/// there is no buildah; EINTR when interrupted.
Result<std::string> build_image(const StateDirs& dirs, const BuildOptions& options);

/// Gives the image `digest` of the store a name as well; "": none.
Result<void> name_image(const std::filesystem::path& store, const std::string& digest,
                        const std::string& name);

}  // namespace layerboot::launcher
