#include "launcher/images/build_plan.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <cstdlib>
#include <filesystem>
#include <set>
#include <utility>

#include "launcher/images/build_arguments.h"
#include "launcher/images/containerfile_words.h"
#include "launcher/images/image_change.h"
#include "launcher/vm/vm_layer.h"
#include "oci-mount/base/decimal.h"
#include "oci-mount/base/identity_names.h"
#include "oci-mount/base/printable.h"
#include "oci-mount/base/str_cat.h"
#include "oci-mount/store/json_document.h"

namespace layerboot::launcher {

namespace {

using store::Json;

constexpr unsigned kMaxMode = 07777;
/// Of all that the steps say: each RUN has the variables too.
constexpr std::size_t kMaxPlanBytes = std::size_t{64} << 20;
/// Docker's, which needs no ARG, and is in no image.
constexpr std::array<std::string_view, 8> kKnownArguments = {"HTTP_PROXY",  "http_proxy", "HTTPS_PROXY",
                                                             "https_proxy", "FTP_PROXY",  "ftp_proxy",
                                                             "NO_PROXY",    "no_proxy"};

/// As one word of apply_change().
std::string as_one_word(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return out + '"';
}

/// ["exec", "form"]; nothing where it is a line for a shell.
std::optional<std::vector<std::string>> exec_form(std::string_view text) {
  if (!text.starts_with('[')) return {};
  const Json list = Json::parse(text.begin(), text.end(), nullptr, false);
  if (!list.is_array() || !std::ranges::all_of(list, [](const Json& one) { return one.is_string(); }))
    return {};
  return list.get<std::vector<std::string>>();
}

std::string as_list(const std::vector<std::string>& words) {
  return Json(words).dump(-1, ' ', false, Json::error_handler_t::replace);
}

bool is_as(std::string_view word) {
  return word.size() == 2 && (word[0] | 0x20) == 'a' && (word[1] | 0x20) == 's';
}

std::string absolute_in(const std::string& directory, const std::string& path) {
  std::string whole = (std::filesystem::path(directory) / path).lexically_normal().string();
  while (whole.size() > 1 && whole.ends_with('/')) whole.pop_back();
  return whole;
}

/// What instructions before have said, and the steps so far.
class Planner {
 public:
  Planner(const BuildArguments& arguments, const store::ImageConfig& base) : arguments_(arguments) {
    for (const std::string& variable : base.env) {
      const auto equals = variable.find('=');
      if (equals == std::string::npos) continue;
      // What is there is there: the next ENV or ARG says where it is too much.
      [[maybe_unused]] const auto set = set_variable(environment_, variables_bytes_,
                                                     variable.substr(0, equals), variable.substr(equals + 1));
    }
    user_ = base.user;
    target_ = base.platform;
    if (!base.working_dir.empty()) directory_ = absolute_in("/", base.working_dir);
  }

  /// Of an ARG before FROM, which one behind it without a value takes up.
  void set_global(const std::string& name, const std::string& value) { globals_[name] = value; }

  /// Of the image below, where it has one.
  void set_shell(std::vector<std::string> words) {
    if (!words.empty()) shell_ = std::move(words);
  }

  Result<void> take(const Instruction& given) {
    said_ = said_at(given);
    auto done = carry_out(given);
    if (!done) return while_doing(done.error(), said_);
    return {};
  }
  Result<BuildPlan> finish() {
    if (!step_.actions.empty() || !step_.changes.empty()) close_step();
    for (const auto& [name, value] : arguments_) {
      const bool is_known = std::ranges::find(kKnownArguments, name) != kKnownArguments.end();
      if (!is_known && !used_.contains(name)) plan_.unused.push_back(name);
    }
    return std::move(plan_);
  }
  void note_used(const std::string& name) { used_.insert(name); }

 private:
  Result<void> carry_out(const Instruction& given) {
    const std::string& word = given.word;
    if (word == "FROM") return fail(ENOTSUP, "build --vm knows one stage, and no second FROM");
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

  [[nodiscard]] Variables lookup() const {
    return [this](std::string_view name) -> std::optional<std::string> {
      if (const auto set = environment_.find(name); set != environment_.end()) return set->second;
      if (const auto set = scope_.find(name); set != scope_.end()) return set->second;
      return {};
    };
  }

  /// Both expanded: of what no program is.
  [[nodiscard]] Result<std::vector<std::string>> list_or_words(std::string_view text) const {
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

  /// Tried on nothing, so that what is wrong is said before anything is done.
  Result<void> change(std::string instruction) {
    Json nothing = Json::object();
    LB_TRY(apply_change(nothing, instruction));
    LB_TRY(count(instruction));
    step_.changes.push_back(std::move(instruction));
    note_step();
    return {};
  }

  Result<void> count(std::string_view text) {
    plan_bytes_ += text.size();
    if (plan_bytes_ <= kMaxPlanBytes) return {};
    return fail(EINVAL, "all steps come to more than ", kMaxPlanBytes >> 20, " MiB");
  }
  Result<void> count(const std::vector<std::string>& texts) {
    for (const std::string& text : texts) LB_TRY(count(text));
    return {};
  }

  BuildAction& add_action(BuildAction::Kind kind) {
    note_step();
    BuildAction& action = step_.actions.emplace_back();
    action.kind = kind;
    action.said = said_;
    return action;
  }
  void note_step() {
    if (step_.said.empty()) step_.said = said_;
  }
  void close_step() { plan_.steps.push_back(std::exchange(step_, {})); }

  Result<void> run(const Instruction& given) {
    if (!given.flags.empty()) return fail(ENOTSUP, "build --vm knows no ", printable(given.flags.front()));
    BuildAction& action = add_action(BuildAction::Kind::kRun);
    action.run.command = in_shell(given.text);
    if (action.run.command.empty()) return fail(EINVAL, "it says no command");
    action.run.user = user_;
    action.run.directory = directory_;
    action.run.environment = variables_of_run();
    LB_TRY(check_can_be_given(action.run));
    LB_TRY(count(action.run.command));
    LB_TRY(count(action.run.environment));
    LB_TRY(count(user_));
    LB_TRY(count(directory_));
    step_.said = said_;
    close_step();
    return {};
  }
  /// No word and no variable of a program is larger: MAX_ARG_STRLEN of execve(2).
  static Result<void> check_can_be_given(const RunAction& run) {
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
  [[nodiscard]] std::vector<std::string> variables_of_run() const {
    BuildArguments all = scope_;
    for (const std::string_view name : kKnownArguments) {
      if (const auto given = arguments_.find(name); given != arguments_.end()) all.insert(*given);
    }
    for (const auto& [name, value] : environment_) all[name] = value;
    std::vector<std::string> list;
    list.reserve(all.size());
    for (const auto& [name, value] : all) list.push_back(str_cat(name, '=', value));
    return list;
  }
  [[nodiscard]] std::vector<std::string> in_shell(const std::string& text) const {
    if (auto words = exec_form(text)) return *words;
    std::vector<std::string> words = shell_;
    words.push_back(text);
    return words;
  }

  Result<void> take_copy_flag(const std::string& flag, CopyAction& action) {
    const auto equals = flag.find('=');
    const std::string name = flag.substr(0, equals);
    const bool is_known = equals != std::string::npos && (name == "--chown" || name == "--chmod");
    if (!is_known) return fail(ENOTSUP, "build --vm knows no ", printable(flag));
    LB_ASSIGN(const std::string value, expand_text(std::string_view(flag).substr(equals + 1), lookup()));
    if (name == "--chmod") {
      char* end = nullptr;
      const unsigned long mode = std::strtoul(value.c_str(), &end, 8);
      if (value.empty() || std::isdigit(static_cast<unsigned char>(value.front())) == 0 || *end != '\0' ||
          mode > kMaxMode)
        return fail(EINVAL, "--chmod takes a mode such as 0755, not ", printable(value));
      action.mode = static_cast<unsigned>(mode);
      return {};
    }
    const auto colon = value.find(':');
    const auto uid = parse_whole<std::uint32_t>(value.substr(0, colon));
    const auto gid = colon == std::string::npos ? uid : parse_whole<std::uint32_t>(value.substr(colon + 1));
    if (!uid || !gid) {
      return fail(ENOTSUP, "--chown takes numbers in build --vm, such as 33:33, not ", printable(value),
                  ": or RUN chown");
    }
    action.uid = *uid;
    action.gid = *gid;
    return {};
  }
  Result<void> copy(const Instruction& given) {
    CopyAction action;
    for (const std::string& flag : given.flags) LB_TRY(take_copy_flag(flag, action));
    LB_ASSIGN(auto words, list_or_words(given.text));
    if (words.size() < 2) return fail(EINVAL, "it needs a source and a target");
    const std::string target = words.back();
    words.pop_back();
    for (const std::string& source : words) {
      if (given.word == "ADD" && (source.contains("://") || source.starts_with("git@")))
        return fail(ENOTSUP, "build --vm adds local files only: RUN curl, or wget, fetches others");
      if (source.empty()) return fail(EINVAL, "a source is empty");
    }
    if (target.empty()) return fail(EINVAL, "the target is empty");
    action.refuses_archives = given.word == "ADD";
    action.target = absolute_in(directory_, target);
    action.into_directory =
        target.ends_with('/') || target == "." || target.ends_with("/.") || action.target == "/";
    if (words.size() > 1 && !action.into_directory)
      return fail(EINVAL, "several sources need a directory for a target, which ends with a /");
    action.sources = std::move(words);
    warn_of_one_machines_own(action.target);
    LB_TRY(count(action.sources));
    LB_TRY(count(action.target));
    add_action(BuildAction::Kind::kCopy).copy = std::move(action);
    return {};
  }

  void warn_of_one_machines_own(const std::string& path) {
    // "/tmp" is a directory in the guest, whether or not it is called so.
    if (!is_in_no_layer(path) && !is_in_no_layer(path + '/')) return;
    plan_.warnings.push_back(str_cat(
        said_, ": what one machine has for itself is in no layer; the next RUN alone finds it there"));
  }

  Result<void> set_argument(const std::string& name, const std::string& value) {
    return set_variable(scope_, variables_bytes_, name, value);
  }
  Result<void> argument(std::string_view text) {
    LB_ASSIGN(const auto pairs, expand_pairs(text, lookup()));
    for (const WordPair& pair : pairs) {
      if (!is_argument_name(pair.key)) return fail(EINVAL, "\"", printable(pair.key), "\" is no name");
      note_used(pair.key);
      const auto given = arguments_.find(pair.key);
      const auto global = globals_.find(pair.key);
      if (given != arguments_.end()) {
        LB_TRY(set_argument(pair.key, given->second));
      } else if (pair.value) {
        LB_TRY(set_argument(pair.key, *pair.value));
      } else if (global != globals_.end()) {
        LB_TRY(set_argument(pair.key, global->second));
      } else if (const auto builder = value_of_builder(pair.key)) {
        LB_TRY(set_argument(pair.key, *builder));
      } else if (const auto target = value_of_target(pair.key, target_)) {
        if (target_.os.empty() || target_.architecture.empty())
          return fail(ENOTSUP, "the image below does not say for which platform it is: give --build-arg ",
                      pair.key, "=…");
        LB_TRY(set_argument(pair.key, *target));
      }
    }
    return {};
  }

  /// KEY=VALUE…, or "KEY the rest".
  Result<std::vector<WordPair>> keys_and_values(std::string_view text) const {
    const auto end = text.find_first_of(" \t");
    if (text.substr(0, end).contains('=')) {
      LB_ASSIGN(auto pairs, expand_pairs(text, lookup()));
      for (const WordPair& pair : pairs) {
        if (!pair.value) return fail(EINVAL, "\"", printable(pair.key), "\" is not of the form KEY=VALUE");
      }
      return pairs;
    }
    if (end == std::string_view::npos) return fail(EINVAL, "\"", printable(text), "\" has no value");
    std::string_view rest = text.substr(end);
    rest.remove_prefix(std::min(rest.size(), rest.find_first_not_of(" \t")));
    LB_ASSIGN(std::string value, expand_text(rest, lookup()));
    return std::vector<WordPair>{{.key = std::string(text.substr(0, end)), .value = std::move(value)}};
  }
  Result<void> environment(std::string_view text) {
    LB_ASSIGN(const auto pairs, keys_and_values(text));
    std::string instruction = "ENV";
    for (const WordPair& pair : pairs) {
      instruction += str_cat(' ', as_one_word(str_cat(pair.key, '=', *pair.value)));
      LB_TRY(set_variable(environment_, variables_bytes_, pair.key, *pair.value));
    }
    return change(std::move(instruction));
  }
  Result<void> label(std::string_view text) {
    LB_ASSIGN(const auto pairs, keys_and_values(text));
    std::string instruction = "LABEL";
    for (const WordPair& pair : pairs)
      instruction += str_cat(' ', as_one_word(str_cat(pair.key, '=', *pair.value)));
    return change(std::move(instruction));
  }

  Result<void> working_directory(std::string_view text) {
    LB_ASSIGN(const std::string path, expand_text(text, lookup()));
    if (path.empty()) return fail(EINVAL, "it says no directory");
    directory_ = absolute_in(directory_, path);
    LB_TRY(change(str_cat("WORKDIR ", directory_)));
    if (is_in_no_layer(directory_)) warn_of_one_machines_own(directory_);
    if (directory_ == "/") return {};
    BuildAction& action = add_action(BuildAction::Kind::kDirectory);
    action.directory = directory_;
    action.owner = user_;
    return {};
  }
  Result<void> user(std::string_view text) {
    LB_ASSIGN(user_, expand_text(text, lookup()));
    return change(str_cat("USER ", user_));
  }
  Result<void> shell(std::string_view text) {
    const auto words = exec_form(text);
    if (!words || words->empty())
      return fail(EINVAL, "it takes a list in JSON, such as [\"/bin/bash\", \"-c\"]");
    shell_ = *words;
    return change(str_cat("SHELL ", as_list(shell_)));
  }
  Result<void> command(const std::string& word, const std::string& text) {
    has_command_ = has_command_ || word == "CMD";
    // What the image below is to do by itself is not the new program's argument.
    if (word == "ENTRYPOINT" && !has_command_) LB_TRY(change("CMD []"));
    return change(str_cat(word, ' ', as_list(in_shell(text))));
  }

  const BuildArguments& arguments_;
  BuildPlan plan_;
  BuildStep step_;  // so far
  std::string said_;
  BuildArguments environment_;
  BuildArguments globals_;
  BuildArguments scope_;             // of ARG
  std::size_t variables_bytes_ = 0;  // of the environment and the scope
  std::size_t plan_bytes_ = 0;
  std::set<std::string, std::less<>> used_;  // of the arguments
  store::Platform target_;
  std::string user_;
  std::string directory_ = "/";
  std::vector<std::string> shell_ = {"/bin/sh", "-c"};
  bool has_command_ = false;
};

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

}  // namespace

bool is_in_no_layer(std::string_view path) { return belongs_to_one_machine(path) || is_of_every_vm(path); }

Result<std::string> base_of_build(const std::vector<Instruction>& instructions,
                                  const BuildArguments& arguments) {
  const auto from = std::ranges::find(instructions, "FROM", &Instruction::word);
  GlobalScope globals(arguments);
  LB_TRY(globals.take(instructions));
  if (from == instructions.end()) return fail(EINVAL, "it has no FROM");
  const auto refused = [&from](const auto&... why) { return fail(ENOTSUP, said_at(*from), ": ", why...); };
  if (!from->flags.empty()) return refused("build --vm knows no ", printable(from->flags.front()));
  const auto words = globals.words(from->text);
  if (!words) return while_doing(words.error(), said_at(*from));
  // "FROM image AS name", which nothing refers to.
  const bool has_name = words->size() == 3 && is_as((*words)[1]);
  if (words->size() != 1 && !has_name)
    return refused("it is to name one image, and behind that AS and a name at most");
  if (words->front() == "scratch") return refused("there is nothing in it that could boot");
  if (words->front().empty()) return refused("it names no image");
  const auto second = std::find_if(std::next(from), instructions.end(),
                                   [](const Instruction& one) { return one.word == "FROM"; });
  if (second != instructions.end())
    return fail(ENOTSUP, said_at(*second), ": build --vm knows one stage, and no second FROM");
  return words->front();
}

Result<BuildPlan> plan_build(const std::vector<Instruction>& instructions, const BuildArguments& arguments,
                             const store::ImageConfig& base, std::string_view base_document) {
  Planner planner(arguments, base);
  GlobalScope globals(arguments);
  LB_TRY(globals.take(instructions));
  for (const auto& [name, value] : globals.values()) {
    planner.set_global(name, value);
    planner.note_used(name);
  }
  const auto from = std::ranges::find(instructions, "FROM", &Instruction::word);
  if (from == instructions.end()) return fail(EINVAL, "it has no FROM");
  const Json document = Json::parse(base_document, nullptr, false);
  if (const auto triggers = texts_in_config(document, "OnBuild"); !triggers.empty()) {
    return fail(ENOTSUP, said_at(*from), ": the image has ONBUILD ", printable(triggers.front()),
                ", which build --vm does not know");
  }
  planner.set_shell(texts_in_config(document, "Shell"));
  for (auto given = std::next(from); given != instructions.end(); ++given) LB_TRY(planner.take(*given));
  return planner.finish();
}

}  // namespace layerboot::launcher
