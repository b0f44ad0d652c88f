#include "launcher/images/build_plan.h"

#include <algorithm>
#include <set>
#include <utility>

#include "launcher/images/build_planner.h"
#include "launcher/images/containerfile_words.h"
#include "launcher/vm/vm_layer.h"
#include "oci-mount/base/identity_names.h"
#include "oci-mount/base/printable.h"
#include "oci-mount/store/json_document.h"

namespace layerboot::launcher {

namespace {

using store::Json;

/// A list of an image's configuration that store::ImageConfig leaves out; what is no text is not in it.
std::vector<std::string> texts_in_config(const Json& document, const char* key) {
  std::vector<std::string> texts;
  const auto* const config = store::find_member(document, "config");
  const auto* const list = config == nullptr ? nullptr : store::find_member(*config, key);
  if (list == nullptr || !list->is_array()) return texts;
  for (const Json& one : *list) {
    if (one.is_string()) texts.push_back(one.get<std::string>());
  }
  return texts;
}

/// What a stage begins with that begins with an image.
Result<StageState> state_of_base(const BaseImages& bases, const std::string& image) {
  const auto base = bases.find(image);
  if (base == bases.end()) return fail(ENOENT, "there is no image ", printable(image));
  const Json document = Json::parse(base->second.document, nullptr, false);
  if (const auto triggers = texts_in_config(document, "OnBuild"); !triggers.empty())
    return fail(ENOTSUP, "the image has ONBUILD ", printable(triggers.front()),
                ", which build --vm does not know");
  StageState state = state_of_image(base->second.config);
  if (auto shell = texts_in_config(document, "Shell"); !shell.empty()) state.shell = std::move(shell);
  return state;
}

/// In stages that are not needed, too.
std::vector<std::string> unused_of(const BuildStages& stages, const BuildArguments& arguments) {
  std::set<std::string, std::less<>> used(kKnownArguments.begin(), kKnownArguments.end());
  for (const auto& [name, value] : stages.globals) used.insert(name);
  for (const BuildStage& stage : stages.all) {
    for (const Instruction& given : stage.instructions) {
      if (given.word != "ARG") continue;
      const auto pairs =
          expand_pairs(given.text, [](std::string_view) { return std::optional<std::string>(); });
      if (!pairs) continue;
      for (const WordPair& pair : *pairs) used.insert(pair.key);
    }
  }
  std::vector<std::string> unused;
  for (const auto& [name, value] : arguments) {
    if (!used.contains(name)) unused.push_back(name);
  }
  return unused;
}

}  // namespace

bool is_in_no_layer(std::string_view path) { return belongs_to_one_machine(path) || is_of_every_vm(path); }

Result<BuildPlan> plan_build(const BuildStages& stages, const BuildArguments& arguments,
                             const BaseImages& bases) {
  BuildPlan plan;
  plan.stages.resize(stages.all.size());
  plan.unused = unused_of(stages, arguments);
  std::vector<StageState> ends(stages.all.size());
  std::size_t plan_bytes = 0;
  for (std::size_t i = 0; i < stages.all.size(); ++i) {
    const BuildStage& stage = stages.all[i];
    if (!stage.is_needed) continue;
    // One that begins with another one has its ARGs, too, as docker has it.
    auto begin = stage.parent ? ends[*stage.parent] : state_of_base(bases, stage.image);
    if (!begin) return while_doing(begin.error(), said_at(stage.from));
    Planner planner(stages, i, arguments, *std::move(begin), plan_bytes);
    for (const Instruction& given : stage.instructions) LB_TRY(planner.take(given));
    plan.stages[i] = planner.finish();
    ends[i] = planner.state();
    plan.warnings.insert(plan.warnings.end(), planner.warnings().begin(), planner.warnings().end());
  }
  return plan;
}

}  // namespace layerboot::launcher
