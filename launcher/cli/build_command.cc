#include "launcher/cli/build_command.h"

#include <cstdlib>
#include <optional>
#include <system_error>
#include <utility>

#include "launcher/cli/build_vm.h"
#include "launcher/cli/run_ways.h"
#include "launcher/cli/store_commands.h"
#include "launcher/host/programs.h"
#include "launcher/host/run_tool.h"
#include "launcher/images/build_cache.h"
#include "launcher/images/build_plan.h"
#include "launcher/images/containerfile.h"
#include "launcher/images/context_copy.h"
#include "launcher/images/context_ignore.h"
#include "launcher/images/image_build.h"
#include "launcher/images/image_commit.h"
#include "launcher/kernel/kernel_choice.h"
#include "oci-mount/base/files.h"
#include "oci-mount/base/log.h"
#include "oci-mount/base/printable.h"
#include "oci-mount/store/image.h"

namespace layerboot::launcher {

namespace {

namespace fs = std::filesystem;

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

class Build {
 public:
  Build(const StateDirs& dirs, const BuildOptions& build, BuildContext context, BuildVmOptions vms,
        BuildCache cache)
      : dirs_(dirs),
        build_(build),
        context_(std::move(context)),
        vms_(std::move(vms)),
        cache_(std::move(cache)) {}

  /// Upon `base`, whose manifest has the digest `base_digest`.
  Result<std::string> carry_out(const std::string& base, const std::string& base_digest,
                                const BuildPlan& plan) {
    std::string image = base;
    std::string digest = base_digest;
    std::vector<BuildStep> steps = plan.steps;
    // An image of its own, whatever the Containerfile says.
    if (steps.empty()) steps.emplace_back().said = "FROM alone";
    for (std::size_t i = 0; i < steps.size(); ++i) {
      const BuildStep& step = steps[i];
      LB_TRY(InterruptScope::check());
      LB_ASSIGN(const std::string key, key_of(digest, step));
      const auto known = build_.no_cache ? std::nullopt : cache_.find(key);
      log_info("step ", i + 1, " of ", steps.size(), ", ", step.said, known ? ": as before" : "");
      LB_TRY(warn_of_left_out(step));
      const bool is_last = i + 1 == steps.size();
      if (known) {
        digest = *known;
      } else {
        const std::string below = digest;
        LB_ASSIGN(digest, do_step(image, step, is_last ? build_.name : ""));
        // What was changed while it was copied is not what the key says.
        LB_ASSIGN(const std::string now, key_of(below, step));
        if (now == key) {
          LB_TRY(cache_.keep(key, digest));
        } else {
          log_warn("step ", i + 1, " is not kept for later builds: its files have changed meanwhile");
        }
      }
      image = str_cat("image@", digest);
    }
    LB_TRY(name_image(dirs_.store(), digest, build_.name));
    return digest;
  }

 private:
  Result<void> warn_of_left_out(const BuildStep& step) const {
    for (const BuildAction& action : step.actions) {
      if (action.kind != BuildAction::Kind::kCopy) continue;
      const auto found = left_out_of_layers({.context = context_, .action = action.copy});
      if (!found) return while_doing(found.error(), action.said);
      for (const std::string& path : found->paths)
        log_warn(action.said, ": ", printable(path), " is in no layer, as each machine has its own");
      if (found->more > 0) log_warn(action.said, ": the same holds for ", found->more, " more");
    }
    return {};
  }
  Result<std::string> key_of(const std::string& below, const BuildStep& step) const {
    LB_ASSIGN(StepKey key, StepKey::begin(below));
    key.add(build_.platform);
    const char* const epoch = std::getenv("SOURCE_DATE_EPOCH");
    key.add(epoch != nullptr ? epoch : "");
    for (const std::string& change : step.changes) key.add(change);
    for (const BuildAction& action : step.actions) {
      key.add(std::to_string(static_cast<int>(action.kind)));
      key.add(action.directory);
      key.add(action.owner);
      for (const auto* list : {&action.run.command, &action.run.environment}) {
        key.add(std::to_string(list->size()));
        for (const std::string& word : *list) key.add(word);
      }
      key.add(action.run.user);
      key.add(action.run.directory);
      if (action.kind != BuildAction::Kind::kCopy) continue;
      const auto content = digest_of_copy({.context = context_, .action = action.copy});
      if (!content) return while_doing(content.error(), action.said);
      key.add(content->text());
    }
    return key.finish();
  }

  Result<std::string> do_step(const std::string& image, const BuildStep& step,
                              const std::string& name) const {
    CommitOptions commit;
    commit.image = image;
    commit.platform = vms_.platform;
    commit.changes = step.changes;
    commit.name = name;
    commit.created_by = str_cat("layerboot build --vm, ", step.said);
    if (BuildVm::has_all(image, step.actions, vms_)) return change_image(dirs_, commit);
    LB_ASSIGN(BuildVm vm, BuildVm::boot(dirs_, image, vms_));
    for (const BuildAction& action : step.actions) LB_TRY(vm.carry_out(action, context_));
    auto digest = vm.commit(std::move(commit));
    if (!digest) return while_doing(digest.error(), step.said);
    return digest;
  }

  const StateDirs& dirs_;
  const BuildOptions& build_;
  BuildContext context_;
  BuildVmOptions vms_;
  BuildCache cache_;
};

}  // namespace

Result<std::string> build_in_vms(const StateDirs& dirs, const Options& options, const BuildOptions& build) {
  LB_ASSIGN(const Recipe recipe, read_recipe(build));
  LB_ASSIGN(BuildContext context, open_build_context(build.context, recipe.file));
  LB_ASSIGN(const auto instructions, parse_containerfile(recipe.text));
  LB_ASSIGN(const auto arguments, parse_build_arguments(build.arguments));
  LB_ASSIGN(const std::string from, base_of_build(instructions, arguments));
  std::vector<std::string> words = options.guest_command;
  if (!build.platform.empty()) words.insert(words.begin(), {"--platform", build.platform});
  LB_ASSIGN(const Options run, options_of_vms(options.guest_command, from));
  const InterruptScope interruptible;
  SupplyOptions supply = supply_options(options);
  supply.platform = build.platform;
  LB_ASSIGN(const std::string base, supply_image(dirs, from, supply));
  BuildVmOptions vms;
  if (!build.platform.empty()) {
    LB_ASSIGN(vms.platform, store::parse_platform(build.platform));
  }
  LB_ASSIGN(const store::Image image, store::open_image(base, dirs, {.platform = vms.platform}));
  LB_TRY(check_takes_layers(image, from));
  LB_ASSIGN(const BuildPlan plan, plan_build(instructions, arguments, image.config, image.config_text));
  for (const std::string& name : plan.unused)
    log_warn("--build-arg ", name, ": the Containerfile has no ARG of that name");
  for (const std::string& warning : plan.warnings) log_warn(warning);
  vms.run_words = std::move(words);
  vms.show_progress = build.show_progress;
  LB_ASSIGN(vms.oci_mount, find_oci_mount(options.oci_mount.empty() ? run.oci_mount : options.oci_mount));
  LB_TRY(make_directories(dirs.data));
  LB_TRY(make_directories(dirs.data / "build", 0700));
  BuildVm::remove_leftovers(dirs);
  LB_ASSIGN(BuildCache cache, BuildCache::open(dirs.data / "build" / "steps", dirs.store()));
  return Build(dirs, build, std::move(context), std::move(vms), std::move(cache))
      .carry_out(base, image.manifest_digest.text(), plan);
}

}  // namespace layerboot::launcher
