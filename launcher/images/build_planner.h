// Planner: the steps of one stage, instruction by instruction. Pure.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "launcher/images/build_plan.h"
#include "launcher/images/containerfile_words.h"
#include "oci-mount/base/result.h"
#include "oci-mount/store/platform.h"

namespace layerboot::launcher {

/// What instructions before have said: an image's, or those of the stage that one begins with.
struct StageState {
  BuildArguments environment;
  BuildArguments scope;             // of ARG
  std::size_t variables_bytes = 0;  // of both
  store::Platform target;
  std::string user;
  std::string directory = "/";
  std::vector<std::string> shell = {"/bin/sh", "-c"};
};

[[nodiscard]] StageState state_of_image(const store::ImageConfig& config);

class Planner {
 public:
  /// Of the stage number `at`. `plan_bytes` is of all that the steps of all stages say.
  Planner(const BuildStages& stages, std::size_t at, const BuildArguments& arguments, StageState state,
          std::size_t& plan_bytes)
      : stages_(stages), at_(at), arguments_(arguments), state_(std::move(state)), plan_bytes_(plan_bytes) {}

  Result<void> take(const Instruction& given);
  /// Once, after the last.
  BuildSteps finish();

  [[nodiscard]] const StageState& state() const { return state_; }
  [[nodiscard]] const std::vector<std::string>& warnings() const { return warnings_; }

 private:
  Result<void> carry_out(const Instruction& given);

  Result<void> argument(std::string_view text);
  Result<void> environment(std::string_view text);
  Result<void> label(std::string_view text);
  Result<void> working_directory(std::string_view text);
  Result<void> user(std::string_view text);
  Result<void> shell(std::string_view text);
  Result<void> command(const std::string& word, const std::string& text);
  Result<void> run(const Instruction& given);

  Result<void> copy(const Instruction& given);
  Result<void> take_copy_flag(const Instruction& given, const std::string& flag, CopyAction& action);
  Result<void> take_mode(const std::string& value, CopyAction& action) const;
  Result<void> take_owner(const std::string& value, CopyAction& action) const;
  /// Sources and target; here-documents go to the action.
  Result<std::vector<std::string>> words_of_copy(const Instruction& given, CopyAction& action);
  Result<void> take_document(const HereDocument& document, CopyAction& action);

  [[nodiscard]] Variables lookup() const;
  /// Both expanded: of what no program is.
  [[nodiscard]] Result<std::vector<std::string>> list_or_words(std::string_view text) const;
  [[nodiscard]] std::vector<std::string> variables_of_run() const;
  [[nodiscard]] std::vector<std::string> in_shell(const std::string& text) const;
  Result<void> set_argument(const std::string& name, const std::string& value);

  /// Tried on nothing, so that what is wrong is said before anything is done.
  Result<void> change(std::string instruction);
  Result<void> count(std::string_view text);
  Result<void> count(const std::vector<std::string>& texts);
  BuildAction& add_action(BuildAction::Kind kind);
  void note_step();
  void close_step();
  void warn_of_one_machines_own(const std::string& path);

  const BuildStages& stages_;
  std::size_t at_;
  const BuildArguments& arguments_;
  StageState state_;
  std::size_t& plan_bytes_;
  BuildSteps steps_;
  BuildStep step_;  // so far
  std::vector<std::string> warnings_;
  std::string said_;
  bool has_command_ = false;
};

/// ["exec", "form"]; nothing where it is a line for a shell.
[[nodiscard]] std::optional<std::vector<std::string>> exec_form(std::string_view text);

/// `path` in `directory`, without "." and "..".
[[nodiscard]] std::string absolute_in(const std::string& directory, const std::string& path);

}  // namespace layerboot::launcher
