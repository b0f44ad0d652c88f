// What the completions of all shells are made of: the command line's own description.
#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace layerboot::launcher {

/// What the word after an option may be.
enum class ValueKind { kNone, kAny, kPath, kChoice };

struct OptionValue {
  ValueKind kind = ValueKind::kNone;
  std::string type;     // as the help shows it
  std::string choices;  // with blanks between them
};

[[nodiscard]] OptionValue value_of(const CLI::Option& option);
/// The option's names as they are typed, long ones first.
[[nodiscard]] std::vector<std::string> typed_names(const CLI::Option& option);

/// The command's options, and those of the words that may follow it.
[[nodiscard]] std::vector<const CLI::Option*> all_options(const CLI::App& command);

/// What a command is about: what its other words are names of.
struct Subject {
  bool vms = false;
  bool images = false;
};
[[nodiscard]] Subject subject_of(const CLI::App& command);

// Each a whole script.
[[nodiscard]] std::string bash_completion(const CLI::App& app);
[[nodiscard]] std::string zsh_completion(const CLI::App& app);
[[nodiscard]] std::string fish_completion(const CLI::App& app);

}  // namespace layerboot::launcher
