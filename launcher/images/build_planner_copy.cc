// The Planner's COPY and ADD.
#include <algorithm>
#include <utility>

#include "launcher/images/build_planner.h"
#include "oci-mount/base/decimal.h"
#include "oci-mount/base/printable.h"

namespace layerboot::launcher {

namespace {

constexpr unsigned kMaxMode = 07777;

}  // namespace

Result<void> Planner::take_mode(const std::string& value, CopyAction& action) const {
  const auto mode = parse_whole<unsigned>(value, 8);
  if (!mode || *mode > kMaxMode)
    return fail(EINVAL, "--chmod takes a mode such as 0755, not ", printable(value));
  action.mode = *mode;
  return {};
}

Result<void> Planner::take_owner(const std::string& value, CopyAction& action) const {
  const auto colon = value.find(':');
  if (colon == 0 || value.empty() || value.ends_with(':'))
    return fail(EINVAL, "--chown takes a user, or USER:GROUP, not \"", printable(value), "\"");
  const auto uid = parse_whole<std::uint32_t>(value.substr(0, colon));
  const auto gid = colon == std::string::npos ? uid : parse_whole<std::uint32_t>(value.substr(colon + 1));
  if (!uid || !gid) {
    action.owner = value;
    return {};
  }
  action.uid = *uid;
  action.gid = *gid;
  return {};
}

Result<void> Planner::take_copy_flag(const Instruction& given, const std::string& flag, CopyAction& action) {
  if (given.word == "COPY" && flag.starts_with(kFromFlag)) {
    LB_ASSIGN(action.from, source_named(stages_, at_, std::string_view(flag).substr(kFromFlag.size())));
    return {};
  }
  if (flag == "--link" || flag == "--link=true" || flag == "--link=false") return {};
  const auto equals = flag.find('=');
  const std::string name = flag.substr(0, equals);
  const bool is_known = equals != std::string::npos && (name == "--chown" || name == "--chmod");
  if (!is_known) return fail(ENOTSUP, "build --vm knows no ", printable(flag));
  LB_ASSIGN(const std::string value, expand_text(std::string_view(flag).substr(equals + 1), lookup()));
  return name == "--chmod" ? take_mode(value, action) : take_owner(value, action);
}

Result<void> Planner::take_document(const HereDocument& document, CopyAction& action) {
  const std::string& name = document.name;
  if (name.empty() || name == "." || name == ".." || name.contains('/'))
    return fail(EINVAL, "\"", printable(name), "\" is a here-document's name, and no file's");
  CopiedDocument copied{.name = name, .text = text_of(document)};
  if (!document.is_raw) {
    LB_ASSIGN(copied.text, expand_document(copied.text, lookup()));
  }
  LB_TRY(count(copied.name));
  LB_TRY(count(copied.text));
  action.documents.push_back(std::move(copied));
  return {};
}

Result<std::vector<std::string>> Planner::words_of_copy(const Instruction& given, CopyAction& action) {
  if (given.documents.empty()) return list_or_words(given.text);
  std::string_view text = given.text;
  const auto begun = find_here_words(text);
  std::vector<std::string> words;
  std::size_t at = 0;
  for (std::size_t i = 0; i < begun.size() && i < given.documents.size(); ++i) {
    LB_TRY(take_document(given.documents[i], action));
    LB_ASSIGN(const auto before, expand_words(text.substr(at, begun[i].begin - at), lookup()));
    words.insert(words.end(), before.begin(), before.end());
    at = begun[i].begin + begun[i].size;
  }
  LB_ASSIGN(const auto rest, expand_words(text.substr(at), lookup()));
  if (rest.empty()) return fail(EINVAL, "it needs a target behind its here-document");
  words.insert(words.end(), rest.begin(), rest.end());
  return words;
}

Result<void> Planner::copy(const Instruction& given) {
  CopyAction action;
  for (const std::string& flag : given.flags) LB_TRY(take_copy_flag(given, flag, action));
  LB_ASSIGN(auto words, words_of_copy(given, action));
  if (!action.from.is_context() && !action.documents.empty())
    return fail(EINVAL, "a here-document is in no image: COPY it without --from");
  const std::size_t sources = words.size() + action.documents.size();
  if (sources < 2) return fail(EINVAL, "it needs a source and a target");
  const std::string target = words.back();
  words.pop_back();
  for (const std::string& source : words) {
    if (given.word == "ADD" && (source.contains("://") || source.starts_with("git@")))
      return fail(ENOTSUP, "build --vm adds local files only: RUN curl, or wget, fetches others");
    if (source.empty()) return fail(EINVAL, "a source is empty");
  }
  if (target.empty()) return fail(EINVAL, "the target is empty");
  action.refuses_archives = given.word == "ADD";
  action.target = absolute_in(state_.directory, target);
  action.into_directory =
      target.ends_with('/') || target == "." || target.ends_with("/.") || action.target == "/";
  if (sources > 2 && !action.into_directory)
    return fail(EINVAL, "several sources need a directory for a target, which ends with a /");
  action.sources = std::move(words);
  warn_of_one_machines_own(action.target);
  LB_TRY(count(action.sources));
  LB_TRY(count(action.target));
  add_action(BuildAction::Kind::kCopy).copy = std::move(action);
  return {};
}

}  // namespace layerboot::launcher
