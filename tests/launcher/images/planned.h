// What tests of Containerfiles have in common: one taken apart, and what it comes to.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "launcher/images/build_plan.h"
#include "launcher/images/build_stages.h"
#include "launcher/images/containerfile.h"

namespace layerboot::launcher::recipes {

using Strings = std::vector<std::string>;

inline std::vector<Instruction> parsed(std::string_view text) {
  auto instructions = parse_containerfile(text);
  EXPECT_TRUE(instructions) << instructions.error().describe();
  return instructions ? *std::move(instructions) : std::vector<Instruction>();
}

/// Why it is no Containerfile for build --vm.
inline std::string refused(std::string_view text) {
  const auto instructions = parse_containerfile(text);
  EXPECT_FALSE(instructions) << text;
  return instructions ? "" : instructions.error().describe();
}

inline Result<BuildStages> stages_in(std::string_view text, const BuildArguments& arguments = {}) {
  return stages_of(parsed(text), arguments, {.os = "linux", .architecture = "amd64", .variant = ""});
}

/// Every image is `base`.
inline Result<BuildPlan> plan_of(std::string_view text, const BuildArguments& arguments = {},
                                 const BaseImage& base = {}) {
  LB_ASSIGN(const BuildStages stages, stages_in(text, arguments));
  BaseImages bases;
  for (const StageImage& image : images_of(stages)) bases.emplace(image.name, base);
  return plan_build(stages, arguments, bases);
}

inline BuildPlan planned(std::string_view text, const BuildArguments& arguments = {},
                         const store::ImageConfig& base = {}) {
  auto plan = plan_of(text, arguments, {.config = base, .document = {}});
  EXPECT_TRUE(plan) << plan.error().describe();
  return plan ? *std::move(plan) : BuildPlan();
}

/// Of the last stage.
inline BuildSteps steps_of(std::string_view text, const BuildArguments& arguments = {},
                           const store::ImageConfig& base = {}) {
  const BuildPlan plan = planned(text, arguments, base);
  return plan.stages.empty() ? BuildSteps() : plan.stages.back();
}

inline std::string why_not(std::string_view text) {
  const auto plan = plan_of(text);
  EXPECT_FALSE(plan) << text.substr(0, 500);
  return plan ? std::string() : plan.error().describe();
}

/// The image that the last stage begins with, or what is wrong.
inline std::string base_of(std::string_view text, const BuildArguments& arguments = {}) {
  const auto stages = stages_in(text, arguments);
  return stages ? stages->all.back().image : stages.error().describe();
}

}  // namespace layerboot::launcher::recipes
