#include "launcher/cli/build_command.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "launcher/cli/build_run.h"
#include "launcher/cli/build_trees.h"
#include "launcher/cli/build_vm.h"
#include "launcher/cli/run_ways.h"
#include "launcher/cli/store_commands.h"
#include "launcher/host/programs.h"
#include "launcher/host/run_tool.h"
#include "launcher/images/build_cache.h"
#include "launcher/images/build_plan.h"
#include "launcher/images/build_stages.h"
#include "launcher/images/containerfile.h"
#include "launcher/images/context_ignore.h"
#include "launcher/images/image_build.h"
#include "launcher/images/image_commit.h"
#include "oci-mount/base/files.h"
#include "oci-mount/base/log.h"
#include "oci-mount/base/printable.h"
#include "oci-mount/store/image.h"

namespace layerboot::launcher {

namespace {

/// The words behind `--`, and what they come to.
Result<Options> options_of_vms(const std::vector<std::string>& words, const std::string& image) {
  ParsedCommandLine parsed = parse_run_words(words, image, {});
  if (!parsed.options) {
    parsed.text.erase(parsed.text.find_last_not_of('\n') + 1);
    return fail(EINVAL, "the options of run: ", parsed.text);
  }
  const Options& run = *parsed.options;
  LB_TRY(check_fits(RunWay::kBuild, run.given));
  if (!run.guest_command.empty())
    return fail(EINVAL, "the options of run: '", run.guest_command.front(), "' is none");
  if (run.upper_choice == UpperKind::kRam)
    return fail(EINVAL, "--upper ram keeps nothing that an image could be made of");
  return *std::move(parsed.options);
}

/// The images that it begins with or copies from, held so that nobody removes them meanwhile.
struct OpenedImages {
  BuildImages images;
  BaseImages bases;
  std::vector<store::Image> held;
};

Result<void> check_fits_stage(const store::Image& image, const StageImage& wanted) {
  if (wanted.takes_a_layer) return check_takes_layers(image, wanted.name);
  if (std::ranges::none_of(image.layers, &store::ImageLayer::is_directory)) return {};
  return fail(ENOTSUP, printable(wanted.name), " is a directory, and no image: COPY it as the context");
}

Result<void> open_image_of_stage(const StateDirs& dirs, const StageImage& wanted, const SupplyOptions& supply,
                                 const store::Platform& platform, OpenedImages& opened) {
  LB_ASSIGN(const std::string name, supply_image(dirs, wanted.name, supply));
  LB_ASSIGN(store::Image image, store::open_image(name, dirs, {.platform = platform}));
  LB_TRY(check_fits_stage(image, wanted));
  opened.images.emplace(wanted.name, BuildImage{.image = name, .digest = image.manifest_digest.text()});
  if (wanted.takes_a_layer)
    opened.bases.emplace(wanted.name, BaseImage{.config = image.config, .document = image.config_text});
  opened.held.push_back(std::move(image));
  return {};
}

Result<OpenedImages> open_images(const StateDirs& dirs, const BuildStages& stages,
                                 const SupplyOptions& supply, const store::Platform& platform) {
  OpenedImages opened;
  for (const StageImage& wanted : images_of(stages)) {
    const auto done = open_image_of_stage(dirs, wanted, supply, platform, opened);
    if (!done) return while_doing(done.error(), wanted.said);
  }
  return opened;
}

/// What stands for the image on the command line of run.
const std::string& some_base(const BuildStages& stages) {
  const BuildStage* stage = &stages.all.back();
  while (stage->parent) stage = &stages.all[*stage->parent];
  return stage->image;
}

}  // namespace

Result<std::string> build_in_vms(const StateDirs& dirs, const Options& options, const BuildOptions& build) {
  LB_ASSIGN(const Recipe recipe, read_recipe(build));
  LB_ASSIGN(const BuildContext context, open_build_context(build.context, recipe.file));
  LB_ASSIGN(const auto instructions, parse_containerfile(recipe.text));
  LB_ASSIGN(const auto arguments, parse_build_arguments(build.arguments));
  BuildVmOptions vms;
  if (!build.platform.empty()) {
    LB_ASSIGN(vms.platform, store::parse_platform(build.platform));
  }
  LB_ASSIGN(const BuildStages stages, stages_of(instructions, arguments, vms.platform));
  std::vector<std::string> words = options.guest_command;
  if (!build.platform.empty()) words.insert(words.begin(), {"--platform", build.platform});
  LB_ASSIGN(const Options run, options_of_vms(options.guest_command, some_base(stages)));
  const InterruptScope interruptible;
  SupplyOptions supply = supply_options(options);
  supply.platform = build.platform;
  LB_ASSIGN(const OpenedImages opened, open_images(dirs, stages, supply, vms.platform));
  LB_ASSIGN(const BuildPlan plan, plan_build(stages, arguments, opened.bases));
  for (const std::string& name : plan.unused)
    log_warn("--build-arg ", name, ": the Containerfile has no ARG of that name");
  for (const std::string& warning : plan.warnings) log_warn(warning);
  vms.run_words = std::move(words);
  vms.show_progress = build.show_progress;
  LB_ASSIGN(vms.oci_mount, find_oci_mount(options.oci_mount.empty() ? run.oci_mount : options.oci_mount));
  LB_TRY(make_directories(dirs.data));
  LB_TRY(make_directories(dirs.data / "build", 0700));
  BuildVm::remove_leftovers(dirs);
  BuildTrees::remove_leftovers(dirs);
  LB_ASSIGN(const BuildCache cache, BuildCache::open(dirs.data / "build" / "steps", dirs.store()));
  return carry_out({.dirs = dirs,
                    .options = build,
                    .context = context,
                    .vms = vms,
                    .cache = cache,
                    .stages = stages,
                    .plan = plan,
                    .images = opened.images});
}

}  // namespace layerboot::launcher
