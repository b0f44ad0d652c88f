#include "launcher/cli/image_out_commands.h"

#include <cstdio>

#include "launcher/cli/build_command.h"
#include "launcher/images/image_build.h"
#include "launcher/images/image_name.h"
#include "launcher/images/image_send.h"

namespace layerboot::launcher {

namespace {

bool shows_progress(const Options& options) { return options.log_level >= LogLevel::kInfo; }

}  // namespace

Result<void> push_command(const StateDirs& dirs, const Options& options) {
  LB_ASSIGN(const std::string name, push_image(dirs, {.reference = options.image,
                                                      .destination = options.image_name,
                                                      .tls_verify = options.tls_verify,
                                                      .with_identity = options.with_identity,
                                                      .show_progress = shows_progress(options)}));
  std::printf("%s\n", name.c_str());
  return {};
}

Result<void> save_command(const StateDirs& dirs, const Options& options) {
  return save_image(dirs, {.reference = options.image,
                           .output = options.output,
                           .kind = options.archive_kind,
                           .with_identity = options.with_identity,
                           .show_progress = shows_progress(options)});
}

Result<void> load_command(const StateDirs& dirs, const Options& options) {
  LB_ASSIGN(const auto names, load_images(dirs, {.input = options.input,
                                                 .name = options.image_name,
                                                 .show_progress = shows_progress(options)}));
  for (const std::string& name : names) std::printf("%s\n", name.c_str());
  return {};
}

Result<void> build_command(const StateDirs& dirs, const Options& options) {
  BuildOptions build = options.build;
  if (!options.image_name.empty()) {
    LB_ASSIGN(build.name, name_to_give(options.image_name));
  }
  build.platform = options.pull_platform;
  build.tls_verify = options.tls_verify;
  build.show_progress = shows_progress(options);
  if (!build.in_vm && !options.guest_command.empty())
    return fail(EINVAL, "build: options of run, behind --, are for build --vm");
  auto digest = build.in_vm ? build_in_vms(dirs, options, build) : build_image(dirs, build);
  if (!digest) return while_doing(digest.error(), "cannot build ", build.context.string());
  std::printf("%s\n", digest->c_str());
  return {};
}

}  // namespace layerboot::launcher
