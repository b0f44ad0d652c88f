#include "launcher/images/build_planner.h"

#include <algorithm>
#include <filesystem>
#include <optional>
#include <utility>

#include "launcher/images/image_change.h"
#include "oci-mount/base/printable.h"
#include "oci-mount/base/str_cat.h"
#include "oci-mount/store/json_document.h"

namespace layerboot::launcher {

namespace {

using store::Json;

/// Of all that the steps say: each RUN has the variables too.
constexpr std::size_t kMaxPlanBytes = std::size_t{64} << 20;

/// As one word of apply_change().
std::string as_one_word(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\' || c == '$') out += '\\';
    out += c;
  }
  return out + '"';
}

std::string as_list(const std::vector<std::string>& words) {
  return Json(words).dump(-1, ' ', false, Json::error_handler_t::replace);
}

/// No word and no variable of a program is larger: MAX_ARG_STRLEN of execve(2).
Result<void> check_can_be_given(const RunAction& run) {
  constexpr std::size_t kMaxWordBytes = (std::size_t{128} << 10) - 1;
  for (const auto* list : {&run.command, &run.environment}) {
    for (const std::string& word : *list) {
      if (word.size() <= kMaxWordBytes) continue;
      const bool is_variable = list == &run.environment;
      return fail(
          E2BIG,
          is_variable ? str_cat("variable ", printable(word.substr(0, word.find('=')))) : "its command",
          " is larger than the ", (kMaxWordBytes + 1) >> 10,
          " KiB that a program can be given: COPY it as a file");
    }
  }
  return {};
}

bool is_all_document(const Instruction& given) {
  const auto words = find_here_words(given.text);
  return words.size() == 1 && words.front().size == given.text.size() && given.documents.size() == 1;
}

/// As the shell is to have it: a document that is all of it is a script; others the shell reads itself.
std::string text_of_run(const Instruction& given) {
  if (is_all_document(given)) return text_of(given.documents.front());
  std::string text = given.text;
  for (const HereDocument& document : given.documents) text += str_cat('\n', document.lines, document.name);
  return text;
}

}  // namespace

std::optional<std::vector<std::string>> exec_form(std::string_view text) {
  if (!text.starts_with('[')) return {};
  const Json list = Json::parse(text.begin(), text.end(), nullptr, false);
  if (!list.is_array() || !std::ranges::all_of(list, [](const Json& one) { return one.is_string(); }))
    return {};
  return list.get<std::vector<std::string>>();
}

std::string absolute_in(const std::string& directory, const std::string& path) {
  std::string whole = (std::filesystem::path(directory) / path).lexically_normal().string();
  while (whole.size() > 1 && whole.ends_with('/')) whole.pop_back();
  return whole;
}

StageState state_of_image(const store::ImageConfig& config) {
  StageState state;
  for (const std::string& variable : config.env) {
    const auto equals = variable.find('=');
    if (equals == std::string::npos) continue;
    // What is there is there: the next ENV or ARG says where it is too much.
    [[maybe_unused]] const auto set = set_variable(state.environment, state.variables_bytes,
                                                   variable.substr(0, equals), variable.substr(equals + 1));
  }
  state.user = config.user;
  state.target = config.platform;
  if (!config.working_dir.empty()) state.directory = absolute_in("/", config.working_dir);
  return state;
}

Result<void> Planner::take(const Instruction& given) {
  said_ = said_at(given);
  auto done = carry_out(given);
  if (!done) return while_doing(done.error(), said_);
  return {};
}

BuildSteps Planner::finish() {
  if (!step_.actions.empty() || !step_.changes.empty()) close_step();
  return std::move(steps_);
}

Result<void> Planner::carry_out(const Instruction& given) {
  const std::string& word = given.word;
  if (word == "RUN") return run(given);
  if (word == "COPY" || word == "ADD") return copy(given);
  if (word == "ARG") return argument(given.text);
  if (word == "ENV") return environment(given.text);
  if (word == "WORKDIR") return working_directory(given.text);
  if (word == "USER") return user(given.text);
  if (word == "SHELL") return shell(given.text);
  if (word == "CMD" || word == "ENTRYPOINT") return command(word, given.text);
  if (word == "LABEL") return label(given.text);
  if (word == "VOLUME" && exec_form(given.text)) {
    LB_ASSIGN(const auto paths, list_or_words(given.text));
    return change(str_cat("VOLUME ", as_list(paths)));
  }
  // EXPOSE, VOLUME, STOPSIGNAL
  LB_ASSIGN(const auto words, expand_words(given.text, lookup()));
  std::string text = word;
  for (const std::string& one : words)
    text += word == "STOPSIGNAL" ? str_cat(' ', one) : str_cat(' ', as_one_word(one));
  return change(std::move(text));
}

Variables Planner::lookup() const {
  return [this](std::string_view name) -> std::optional<std::string> {
    if (const auto set = state_.environment.find(name); set != state_.environment.end()) return set->second;
    if (const auto set = state_.scope.find(name); set != state_.scope.end()) return set->second;
    return {};
  };
}

Result<std::vector<std::string>> Planner::list_or_words(std::string_view text) const {
  auto list = exec_form(text);
  if (!list) return expand_words(text, lookup());
  std::size_t bytes = 0;
  for (std::string& one : *list) {
    LB_ASSIGN(one, expand_text(one, lookup()));
    bytes += one.size();
    if (bytes > kMaxExpandedBytes)
      return fail(EINVAL, "with its variables it comes to more than ", kMaxExpandedBytes >> 20, " MiB");
  }
  return *std::move(list);
}

Result<void> Planner::change(std::string instruction) {
  Json nothing = Json::object();
  LB_TRY(apply_change(nothing, instruction));
  LB_TRY(count(instruction));
  step_.changes.push_back(std::move(instruction));
  note_step();
  return {};
}

Result<void> Planner::count(std::string_view text) {
  plan_bytes_ += text.size();
  if (plan_bytes_ <= kMaxPlanBytes) return {};
  return fail(EINVAL, "all steps come to more than ", kMaxPlanBytes >> 20, " MiB");
}

Result<void> Planner::count(const std::vector<std::string>& texts) {
  for (const std::string& text : texts) LB_TRY(count(text));
  return {};
}

BuildAction& Planner::add_action(BuildAction::Kind kind) {
  note_step();
  BuildAction& action = step_.actions.emplace_back();
  action.kind = kind;
  action.said = said_;
  return action;
}

void Planner::note_step() {
  if (step_.said.empty()) step_.said = said_;
}

void Planner::close_step() { steps_.push_back(std::exchange(step_, {})); }

Result<void> Planner::run(const Instruction& given) {
  if (!given.flags.empty()) return fail(ENOTSUP, "build --vm knows no ", printable(given.flags.front()));
  BuildAction& action = add_action(BuildAction::Kind::kRun);
  std::string text = text_of_run(given);
  if (is_all_document(given) && text.starts_with("#!")) {
    action.run.script = std::move(text);
  } else if (given.documents.empty()) {
    action.run.command = in_shell(text);
  } else {
    action.run.command = state_.shell;
    action.run.command.push_back(std::move(text));
  }
  if (action.run.command.empty() && action.run.script.empty()) return fail(EINVAL, "it says no command");
  action.run.user = state_.user;
  action.run.directory = state_.directory;
  action.run.environment = variables_of_run();
  LB_TRY(check_can_be_given(action.run));
  LB_TRY(count(action.run.command));
  LB_TRY(count(action.run.script));
  LB_TRY(count(action.run.environment));
  LB_TRY(count(state_.user));
  LB_TRY(count(state_.directory));
  step_.said = said_;
  close_step();
  return {};
}

std::vector<std::string> Planner::variables_of_run() const {
  BuildArguments all = state_.scope;
  for (const std::string_view name : kKnownArguments) {
    if (const auto given = arguments_.find(name); given != arguments_.end()) all.insert(*given);
  }
  for (const auto& [name, value] : state_.environment) all[name] = value;
  std::vector<std::string> list;
  list.reserve(all.size());
  for (const auto& [name, value] : all) list.push_back(str_cat(name, '=', value));
  return list;
}

std::vector<std::string> Planner::in_shell(const std::string& text) const {
  if (auto words = exec_form(text)) return *words;
  std::vector<std::string> words = state_.shell;
  words.push_back(text);
  return words;
}

void Planner::warn_of_one_machines_own(const std::string& path) {
  // "/tmp" is a directory in the guest, whether or not it is called so.
  if (!is_in_no_layer(path) && !is_in_no_layer(path + '/')) return;
  warnings_.push_back(
      str_cat(said_, ": what one machine has for itself is in no layer; the next RUN alone finds it there"));
}

Result<void> Planner::set_argument(const std::string& name, const std::string& value) {
  return set_variable(state_.scope, state_.variables_bytes, name, value);
}

Result<void> Planner::argument(std::string_view text) {
  LB_ASSIGN(const auto pairs, expand_pairs(text, lookup()));
  for (const WordPair& pair : pairs) {
    if (!is_argument_name(pair.key)) return fail(EINVAL, "\"", printable(pair.key), "\" is no name");
    const auto given = arguments_.find(pair.key);
    const auto global = stages_.globals.find(pair.key);
    if (given != arguments_.end()) {
      LB_TRY(set_argument(pair.key, given->second));
    } else if (pair.value) {
      LB_TRY(set_argument(pair.key, *pair.value));
    } else if (global != stages_.globals.end()) {
      LB_TRY(set_argument(pair.key, global->second));
    } else if (const auto builder = value_of_builder(pair.key)) {
      LB_TRY(set_argument(pair.key, *builder));
    } else if (const auto target = value_of_target(pair.key, state_.target)) {
      if (state_.target.os.empty() || state_.target.architecture.empty())
        return fail(ENOTSUP, "the image below does not say for which platform it is: give --build-arg ",
                    pair.key, "=…");
      LB_TRY(set_argument(pair.key, *target));
    }
  }
  return {};
}

Result<void> Planner::environment(std::string_view text) {
  LB_ASSIGN(const auto pairs, expand_keys_and_values(text, lookup()));
  std::string instruction = "ENV";
  for (const auto& [key, value] : pairs) {
    instruction += str_cat(' ', as_one_word(str_cat(key, '=', value)));
    LB_TRY(set_variable(state_.environment, state_.variables_bytes, key, value));
  }
  return change(std::move(instruction));
}

Result<void> Planner::label(std::string_view text) {
  LB_ASSIGN(const auto pairs, expand_keys_and_values(text, lookup()));
  std::string instruction = "LABEL";
  for (const auto& [key, value] : pairs) instruction += str_cat(' ', as_one_word(str_cat(key, '=', value)));
  return change(std::move(instruction));
}

Result<void> Planner::working_directory(std::string_view text) {
  LB_ASSIGN(const std::string path, expand_text(text, lookup()));
  if (path.empty()) return fail(EINVAL, "it says no directory");
  state_.directory = absolute_in(state_.directory, path);
  LB_TRY(change(str_cat("WORKDIR ", state_.directory)));
  if (is_in_no_layer(state_.directory)) warn_of_one_machines_own(state_.directory);
  if (state_.directory == "/") return {};
  BuildAction& action = add_action(BuildAction::Kind::kDirectory);
  action.directory = state_.directory;
  action.owner = state_.user;
  return {};
}

Result<void> Planner::user(std::string_view text) {
  LB_ASSIGN(state_.user, expand_text(text, lookup()));
  return change(str_cat("USER ", state_.user));
}

Result<void> Planner::shell(std::string_view text) {
  const auto words = exec_form(text);
  if (!words || words->empty())
    return fail(EINVAL, "it takes a list in JSON, such as [\"/bin/bash\", \"-c\"]");
  state_.shell = *words;
  return change(str_cat("SHELL ", as_list(state_.shell)));
}

Result<void> Planner::command(const std::string& word, const std::string& text) {
  has_command_ = has_command_ || word == "CMD";
  // What the image below is to do by itself is not the new program's argument.
  if (word == "ENTRYPOINT" && !has_command_) LB_TRY(change("CMD []"));
  return change(str_cat(word, ' ', as_list(in_shell(text))));
}

}  // namespace layerboot::launcher
