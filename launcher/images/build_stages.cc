#include "launcher/images/build_stages.h"

#include <algorithm>
#include <cctype>
#include <iterator>
#include <utility>

#include "oci-mount/base/ascii.h"
#include "oci-mount/base/decimal.h"
#include "oci-mount/base/printable.h"
#include "oci-mount/base/str_cat.h"

namespace layerboot::launcher {

namespace {

constexpr std::string_view kPlatformFlag = "--platform=";

bool is_stage_name(std::string_view text) {
  const auto is_good = [](unsigned char c) {
    return std::isalnum(c) != 0 || c == '-' || c == '_' || c == '.';
  };
  return !text.empty() && std::isalpha(static_cast<unsigned char>(text.front())) != 0 &&
         std::ranges::all_of(text, is_good);
}

/// The last one of that name, of the first `count`.
std::optional<std::size_t> stage_named(const BuildStages& stages, std::size_t count, std::string_view name) {
  const std::string wanted = ascii_lower(std::string(name));
  for (std::size_t i = count; i-- > 0;) {
    if (!wanted.empty() && stages.all[i].name == wanted) return i;
  }
  return {};
}

/// "image", or "image AS name".
Result<BuildStage> begin_stage(const BuildStages& before, const Instruction& from, GlobalScope& globals) {
  LB_ASSIGN(const auto words, globals.words(from.text));
  const bool has_name = words.size() == 3 && ascii_lower(words[1]) == "as";
  if (words.size() != 1 && !has_name)
    return fail(ENOTSUP, "it is to name one image, and behind that AS and a name at most");
  if (words.front().empty()) return fail(EINVAL, "it names no image");
  BuildStage stage;
  stage.from = from;
  if (has_name) {
    if (!is_stage_name(words[2]))
      return fail(EINVAL, "\"", printable(words[2]),
                  "\" is no name of a stage, which is a letter and then letters, digits, - _ and .");
    stage.name = ascii_lower(words[2]);
  }
  stage.parent = stage_named(before, before.all.size(), words.front());
  if (!stage.parent) stage.image = words.front();
  return stage;
}

/// What was refused too early where nobody needs the stage.
Result<void> check_needed(const BuildStage& stage, GlobalScope& globals, const store::Platform& target) {
  for (const std::string& flag : stage.from.flags) {
    if (!flag.starts_with(kPlatformFlag)) return fail(ENOTSUP, "build --vm knows no ", printable(flag));
    LB_ASSIGN(const auto words, globals.words(std::string_view(flag).substr(kPlatformFlag.size())));
    LB_ASSIGN(const store::Platform platform, store::parse_platform(words.empty() ? "" : words.front()));
    if (platform == target) continue;
    return fail(ENOTSUP, "all stages of build --vm are for one platform, here ", store::platform_text(target),
                ", not ", store::platform_text(platform));
  }
  if (stage.image == "scratch")
    return fail(ENOTSUP, "there is nothing in it that could boot: begin with an image that has a shell");
  return {};
}

struct NamedSource {
  const Instruction& said;
  StageSource source;
};
/// What the stage number `at` copies from. An error names the line.
Result<std::vector<NamedSource>> sources_in(const BuildStages& stages, std::size_t at) {
  std::vector<NamedSource> sources;
  for (const Instruction& given : stages.all[at].instructions) {
    for (const std::string& flag : given.flags) {
      if (given.word != "COPY" || !flag.starts_with(kFromFlag)) continue;
      auto source = source_named(stages, at, std::string_view(flag).substr(kFromFlag.size()));
      if (!source) return while_doing(source.error(), said_at(given));
      sources.push_back({.said = given, .source = *std::move(source)});
    }
  }
  return sources;
}

/// Stages need earlier ones only.
Result<void> mark_needed(BuildStages& stages) {
  stages.all.back().is_needed = true;
  for (std::size_t i = stages.all.size(); i-- > 0;) {
    const BuildStage& stage = stages.all[i];
    if (!stage.is_needed) continue;
    if (stage.parent) stages.all[*stage.parent].is_needed = true;
    LB_ASSIGN(const auto sources, sources_in(stages, i));
    for (const NamedSource& one : sources) {
      if (one.source.stage) stages.all[*one.source.stage].is_needed = true;
    }
  }
  return {};
}

void add_image(std::vector<StageImage>& images, std::string name, const Instruction& said,
               bool takes_a_layer) {
  const auto known = std::ranges::find(images, name, &StageImage::name);
  if (known == images.end()) {
    images.push_back({.name = std::move(name), .said = said_at(said), .takes_a_layer = takes_a_layer});
  } else {
    known->takes_a_layer = known->takes_a_layer || takes_a_layer;
  }
}

}  // namespace

Result<BuildStages> stages_of(const std::vector<Instruction>& instructions, const BuildArguments& arguments,
                              const store::Platform& target) {
  BuildStages stages;
  GlobalScope globals(arguments);
  LB_TRY(globals.take(instructions));
  stages.globals = globals.values();
  for (auto given = std::ranges::find(instructions, "FROM", &Instruction::word); given != instructions.end();
       ++given) {
    if (given->word != "FROM") {
      stages.all.back().instructions.push_back(*given);
      continue;
    }
    auto stage = begin_stage(stages, *given, globals);
    if (!stage) return while_doing(stage.error(), said_at(*given));
    stages.all.push_back(*std::move(stage));
  }
  if (stages.all.empty()) return fail(EINVAL, "it has no FROM");
  LB_TRY(mark_needed(stages));
  GlobalScope of_platforms(arguments, target);
  LB_TRY(of_platforms.take(instructions));
  for (const BuildStage& stage : stages.all) {
    if (!stage.is_needed) continue;
    if (const auto good = check_needed(stage, of_platforms, target); !good)
      return while_doing(good.error(), said_at(stage.from));
  }
  return stages;
}

Result<StageSource> source_named(const BuildStages& stages, std::size_t at, std::string_view name) {
  if (name.empty()) return fail(EINVAL, kFromFlag, " names nothing");
  if (name.contains('$'))
    return fail(ENOTSUP, kFromFlag, " takes no variables: write FROM ", printable(name),
                " AS name, and --from=name");
  if (const auto number = parse_whole<std::size_t>(name)) {
    if (*number >= at) return fail(EINVAL, "there is no stage ", *number, " before this one, which is ", at);
    return StageSource{.stage = *number, .image = {}};
  }
  if (const auto stage = stage_named(stages, at, name)) return StageSource{.stage = *stage, .image = {}};
  if (stage_named(stages, stages.all.size(), name))
    return fail(EINVAL, "the stage ", printable(name), " is not before this one");
  return StageSource{.stage = {}, .image = std::string(name)};
}

std::vector<StageImage> images_of(const BuildStages& stages) {
  std::vector<StageImage> images;
  for (std::size_t i = 0; i < stages.all.size(); ++i) {
    const BuildStage& stage = stages.all[i];
    if (!stage.is_needed) continue;
    if (!stage.parent) add_image(images, stage.image, stage.from, true);
    // What is wrong with one stages_of() has said.
    for (const NamedSource& one : sources_in(stages, i).value_or(std::vector<NamedSource>())) {
      if (!one.source.stage) add_image(images, one.source.image, one.said, false);
    }
  }
  return images;
}

}  // namespace layerboot::launcher
