// What the tests of command lines share.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "launcher/cli/options.h"

namespace layerboot::launcher {

inline ParsedCommandLine parse(std::vector<const char*> arguments) {
  arguments.insert(arguments.begin(), "layerboot");
  return parse_command_line(static_cast<int>(arguments.size()), arguments.data());
}

inline void expect_misuse(const std::vector<const char*>& arguments, const std::string& about) {
  const auto parsed = parse(arguments);
  EXPECT_FALSE(parsed.options);
  EXPECT_EQ(parsed.exit_code, kExitUsage);
  EXPECT_NE(parsed.text.find(about), std::string::npos) << parsed.text;
  EXPECT_EQ(std::count(parsed.text.begin(), parsed.text.end(), '\n'), 1) << parsed.text;
}

}  // namespace layerboot::launcher
