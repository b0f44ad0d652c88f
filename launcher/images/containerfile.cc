#include "launcher/images/containerfile.h"

#include <algorithm>
#include <array>
#include <optional>

#include "oci-mount/base/ascii.h"
#include "oci-mount/base/printable.h"
#include "oci-mount/base/str_cat.h"

namespace layerboot::launcher {

namespace {

constexpr std::array<std::string_view, 15> kKnown = {
    "FROM", "RUN",   "COPY",  "ADD",    "ENV",    "ARG",        "WORKDIR",   "USER",
    "CMD",  "SHELL", "LABEL", "EXPOSE", "VOLUME", "ENTRYPOINT", "STOPSIGNAL"};
constexpr std::array<std::string_view, 4> kWithFlags = {"FROM", "RUN", "COPY", "ADD"};
constexpr std::string_view kBlanks = " \t\r";
constexpr std::size_t kMaxSaidBytes = 80;

std::string_view without_blanks(std::string_view text) {
  const auto begin = text.find_first_not_of(kBlanks);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kBlanks) - begin + 1);
}

/// Takes the first word off `text`.
std::string_view take_word(std::string_view& text) {
  const std::string_view word = text.substr(0, text.find_first_of(kBlanks));
  text = without_blanks(text.substr(word.size()));
  return word;
}

/// A word that begins with digits, if any, and "<<", as BuildKit's do.
bool has_here_document(std::string_view text) {
  while (!text.empty()) {
    std::string_view word = take_word(text);
    word.remove_prefix(std::min(word.size(), word.find_first_not_of("0123456789")));
    if (!word.starts_with("<<")) continue;
    word.remove_prefix(word.starts_with("<<-") ? 3 : 2);
    if (!word.empty() && !word.contains('<')) return true;
  }
  return false;
}

/// Of a comment, what "escape=`" says.
std::string_view escape_said(std::string_view comment) {
  comment = without_blanks(comment.substr(1));
  const auto equals = comment.find('=');
  if (equals == std::string_view::npos) return {};
  const std::string key = ascii_lower(std::string(without_blanks(comment.substr(0, equals))));
  return key == "escape" ? without_blanks(comment.substr(equals + 1)) : std::string_view();
}

/// What build --vm can do, or whatever other builders may know.
enum class Reading { kStrict, kAsOthers };

Result<Instruction> make_instruction(unsigned line, std::string_view text, Reading reading) {
  const bool is_strict = reading == Reading::kStrict;
  Instruction made;
  made.line = line;
  std::string_view rest = without_blanks(text);
  made.word = ascii_upper(take_word(rest));
  if (is_strict && std::ranges::find(kKnown, made.word) == kKnown.end()) {
    std::string known;
    for (const std::string_view word : kKnown) known += str_cat(known.empty() ? "" : ", ", word);
    return fail(ENOTSUP, "line ", line, ": ", printable(made.word), " is not known to build --vm: known are ",
                known);
  }
  if (std::ranges::find(kWithFlags, made.word) != kWithFlags.end()) {
    while (rest.starts_with("--")) made.flags.emplace_back(take_word(rest));
  }
  made.text = rest;
  if (!is_strict) return made;
  if (made.text.empty()) return fail(EINVAL, "line ", line, ": ", made.word, " says nothing");
  const bool may_have_document = made.word == "RUN" || made.word == "COPY" || made.word == "ADD";
  if (may_have_document && has_here_document(made.text)) {
    return fail(ENOTSUP, said_at(made),
                ": here-documents are not known to build --vm: put it into a file, and COPY that");
  }
  return made;
}

/// By an escape character that no other one escapes.
bool is_continued(std::string_view line, char escape) {
  const auto before = line.find_last_not_of(escape);
  const std::size_t escapes = before == std::string_view::npos ? line.size() : line.size() - before - 1;
  return escapes % 2 == 1;
}

/// Joins lines to instructions.
class Lines {
 public:
  explicit Lines(Reading reading) : reading_(reading) {}

  Result<void> take(unsigned number, std::string_view line) {
    const std::string_view bare = without_blanks(line);
    if (bare.starts_with('#')) {
      return only_comments_ ? take_escape(number, escape_said(bare)) : Result<void>();
    }
    if (bare.empty()) return {};
    only_comments_ = false;
    if (begun_ == 0) begun_ = number;
    const bool goes_on = is_continued(bare, escape_);
    // The blanks in front of a continued line are the instruction's.
    line = line.substr(0, line.find_last_not_of(kBlanks) + 1);
    if (goes_on) line.remove_suffix(1);
    text_ += line;
    return goes_on ? Result<void>() : end();
  }
  Result<std::vector<Instruction>> finish() {
    if (begun_ != 0) LB_TRY(end());
    return std::move(instructions_);
  }

 private:
  /// It changes what a line is.
  Result<void> take_escape(unsigned number, std::string_view said) {
    if (said.empty() || said == "\\") return {};
    if (reading_ == Reading::kStrict)
      return fail(ENOTSUP, "line ", number, ": build --vm knows no other escape than \\");
    escape_ = said.front();
    return {};
  }
  Result<void> end() {
    LB_ASSIGN(instructions_.emplace_back(), make_instruction(begun_, text_, reading_));
    begun_ = 0;
    text_.clear();
    return {};
  }

  Reading reading_;
  char escape_ = '\\';
  std::vector<Instruction> instructions_;
  std::string text_;    // of the one that is not at its end
  unsigned begun_ = 0;  // its line; 0: there is none
  bool only_comments_ = true;
};

Result<std::vector<Instruction>> read_as(Reading reading, std::string_view text) {
  if (text.starts_with("\xef\xbb\xbf")) text.remove_prefix(3);
  if (text.contains('\0')) return fail(EINVAL, "it is no text");
  Lines lines(reading);
  for (unsigned number = 1; !text.empty(); ++number) {
    const std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(text.size(), line.size() + 1));
    LB_TRY(lines.take(number, line));
  }
  return lines.finish();
}

}  // namespace

Result<std::vector<Instruction>> parse_containerfile(std::string_view text) {
  return read_as(Reading::kStrict, text);
}

Result<std::vector<Instruction>> skim_containerfile(std::string_view text) {
  return read_as(Reading::kAsOthers, text);
}

std::string said_at(const Instruction& instruction) {
  std::string said = instruction.word;
  for (const std::string& flag : instruction.flags) said += str_cat(' ', flag);
  return str_cat("line ", instruction.line, ": ",
                 printable(str_cat(said, ' ', instruction.text), kMaxSaidBytes));
}

}  // namespace layerboot::launcher
