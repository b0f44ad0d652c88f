#include "launcher/cli/build_run.h"

#include <algorithm>
#include <cstdlib>
#include <optional>
#include <utility>
#include <vector>

#include "launcher/cli/build_trees.h"
#include "launcher/host/run_tool.h"
#include "launcher/images/context_copy.h"
#include "launcher/images/image_commit.h"
#include "oci-mount/base/log.h"
#include "oci-mount/base/printable.h"
#include "oci-mount/base/str_cat.h"

namespace layerboot::launcher {

namespace {

bool copies_from_images(const BuildStep& step) {
  return std::ranges::any_of(step.actions, [](const BuildAction& action) {
    return action.kind == BuildAction::Kind::kCopy && !action.copy.from.is_context();
  });
}

/// What a key says of that which is copied out of an image: which image it is, for which nothing has to be
/// mounted; or what the files are, which are the same in many images.
enum class KeyOf { kImages, kFiles };

void add_copy(StepKey& key, const CopyAction& action, const std::string& from) {
  key.add(str_cat("from ", from));
  key.add(std::to_string(action.sources.size()));
  for (const std::string& source : action.sources) key.add(source);
  key.add(str_cat(action.target, action.into_directory ? "/" : ""));
  key.add(str_cat(action.uid, ':', action.gid, ':', action.mode ? std::to_string(*action.mode) : "-"));
}

void add_run(StepKey& key, const RunAction& run) {
  for (const auto* list : {&run.command, &run.environment}) {
    key.add(std::to_string(list->size()));
    for (const std::string& word : *list) key.add(word);
  }
  key.add(run.script);
  key.add(run.user);
  key.add(run.directory);
}

class StageBuilder {
 public:
  explicit StageBuilder(const BuildRun& run)
      : run_(run),
        trees_(run.dirs, {.oci_mount = run.vms.oci_mount,
                          .platform = run.vms.platform,
                          .show_progress = run.options.show_progress}),
        made_(run.stages.all.size()) {}

  Result<std::string> carry_out() {
    std::vector<BuildSteps> stages = run_.plan.stages;
    // An image of its own, whatever the Containerfile says.
    if (stages.back().empty()) stages.back().emplace_back().said = "FROM alone";
    for (const BuildSteps& steps : stages) count_ += steps.size();
    for (std::size_t i = 0; i < stages.size(); ++i) {
      const BuildStage& stage = run_.stages.all[i];
      if (!stage.is_needed) continue;
      made_[i] = stage.parent ? made_[*stage.parent] : run_.images.at(stage.image);
      for (const BuildStep& step : stages[i]) {
        LB_TRY(InterruptScope::check());
        LB_TRY(take_step(step, made_[i]));
      }
    }
    LB_TRY(name_image(run_.dirs.store(), made_.back().digest, run_.options.name));
    return made_.back().digest;
  }

 private:
  /// From `image` to the one that the step makes of it.
  Result<void> take_step(const BuildStep& step, BuildImage& image) {
    ++number_;
    LB_ASSIGN(const std::string quick_key, key_of(image.digest, step, KeyOf::kImages));
    std::vector<std::string> new_keys;  // by which later builds are to find it
    auto known = find(quick_key);
    if (!known) new_keys.push_back(quick_key);
    if (!known && copies_from_images(step)) {
      LB_ASSIGN(const std::string key, key_of(image.digest, step, KeyOf::kFiles));
      known = find(key);
      if (!known) new_keys.push_back(key);
    }
    log_info("step ", number_, " of ", count_, ", ", step.said, known ? ": as before" : "");
    LB_TRY(warn_of_left_out(step, known.has_value()));
    if (!known) {
      LB_ASSIGN(known, do_step(image.image, step, number_ == count_ ? run_.options.name : ""));
      // What was changed while it was copied is not what the key says.
      LB_ASSIGN(const std::string now, key_of(image.digest, step, KeyOf::kImages));
      if (now != quick_key) {
        log_warn("step ", number_, " is not kept for later builds: its files have changed meanwhile");
        new_keys.clear();
      }
    }
    for (const std::string& key : new_keys) LB_TRY(run_.cache.keep(key, *known));
    image = {.image = str_cat("image@", *known), .digest = *known};
    return {};
  }

  std::optional<std::string> find(const std::string& key) const {
    return run_.options.no_cache ? std::nullopt : run_.cache.find(key);
  }

  const BuildImage* image_of(const CopyAction& action) const {
    if (action.from.is_context()) return nullptr;
    return action.from.stage ? &made_[*action.from.stage] : &run_.images.at(action.from.image);
  }
  /// What it copies from; an image is mounted for that.
  Result<const BuildContext*> tree_of(const BuildAction& action) {
    const BuildImage* const image = image_of(action.copy);
    if (image == nullptr) return &run_.context;
    std::string called = str_cat("the image ", printable(action.copy.from.image));
    if (action.copy.from.stage) {
      const std::string& name = run_.stages.all[*action.copy.from.stage].name;
      called = str_cat("the stage ", name.empty() ? std::to_string(*action.copy.from.stage) : name);
    }
    auto tree = trees_.tree_of(image->image, called);
    if (!tree) return while_doing(tree.error(), action.said);
    return tree;
  }

  Result<void> warn_of_left_out(const BuildStep& step, bool is_known) {
    for (const BuildAction& action : step.actions) {
      if (action.kind != BuildAction::Kind::kCopy) continue;
      // No image is mounted for what was said when it was copied.
      if (is_known && !action.copy.from.is_context()) continue;
      LB_ASSIGN(const BuildContext* const tree, tree_of(action));
      const auto found = left_out_of_layers({.context = *tree, .action = action.copy});
      if (!found) return while_doing(found.error(), action.said);
      for (const std::string& path : found->paths)
        log_warn(action.said, ": ", printable(path), " is in no layer, as each machine has its own");
      if (found->more > 0) log_warn(action.said, ": the same holds for ", found->more, " more");
    }
    return {};
  }

  Result<std::string> key_of(const std::string& below, const BuildStep& step, KeyOf what) {
    LB_ASSIGN(StepKey key, StepKey::begin(below));
    key.add(run_.options.platform);
    const char* const epoch = std::getenv("SOURCE_DATE_EPOCH");
    key.add(epoch != nullptr ? epoch : "");
    for (const std::string& change : step.changes) key.add(change);
    for (const BuildAction& action : step.actions) {
      key.add(std::to_string(static_cast<int>(action.kind)));
      key.add(action.directory);
      key.add(action.owner);
      add_run(key, action.run);
      if (action.kind != BuildAction::Kind::kCopy) continue;
      if (!action.copy.owner.empty()) key.add(str_cat("of ", action.copy.owner));
      const BuildImage* const image = image_of(action.copy);
      if (image != nullptr && what == KeyOf::kImages) {
        add_copy(key, action.copy, image->digest);
        continue;
      }
      LB_ASSIGN(const BuildContext* const tree, tree_of(action));
      const auto content = digest_of_copy({.context = *tree, .action = action.copy});
      if (!content) return while_doing(content.error(), action.said);
      key.add(content->text());
    }
    return key.finish();
  }

  Result<std::string> do_step(const std::string& image, const BuildStep& step, const std::string& name) {
    CommitOptions commit;
    commit.image = image;
    commit.platform = run_.vms.platform;
    commit.changes = step.changes;
    commit.name = name;
    commit.created_by = str_cat("layerboot build --vm, ", step.said);
    if (BuildVm::has_all(image, step.actions, run_.vms)) return change_image(run_.dirs, commit);
    LB_ASSIGN(BuildVm vm, BuildVm::boot(run_.dirs, image, run_.vms));
    for (const BuildAction& action : step.actions) {
      LB_ASSIGN(const BuildContext* const tree, tree_of(action));
      LB_TRY(vm.carry_out(action, *tree));
    }
    auto digest = vm.commit(std::move(commit));
    if (!digest) return while_doing(digest.error(), step.said);
    return digest;
  }

  const BuildRun& run_;
  BuildTrees trees_;
  std::vector<BuildImage> made_;  // by stages
  std::size_t number_ = 0;        // of the step
  std::size_t count_ = 0;
};

}  // namespace

Result<std::string> carry_out(const BuildRun& run) { return StageBuilder(run).carry_out(); }

}  // namespace layerboot::launcher
