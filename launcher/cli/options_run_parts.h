// The options of `run` that are more than a few lines, in files of their own.
#pragma once

#include <functional>
#include <string>

#include "launcher/cli/options_parts.h"

namespace layerboot::launcher {

/// CLI11 takes a bad value as an exception; parse_command_line makes it one line again.
template <typename T>
void valid(const char* option, const Result<T>& result) {
  if (!result) throw CLI::ValidationError(option, result.error().describe());
}

/// An option that may be repeated; `take` gets each value, and says what is wrong with it.
CLI::Option* add_repeated(CLI::App* run, const char* option,
                          std::function<Result<void>(const std::string&)> take, const char* help);

/// What the guest's first program is told and shown: its environment, names, keys, and mounts.
void add_guest_options(CLI::App* run, Options& options);
/// Its network cards and ports.
void add_network_options(CLI::App* run, Options& options);

}  // namespace layerboot::launcher
