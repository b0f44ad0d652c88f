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
  return made;
}

/// Those that begin in it, without their lines. What ONBUILD puts off has its own.
std::vector<HereDocument> documents_begun_by(const Instruction& given) {
  constexpr std::array<std::string_view, 3> kMayHave = {"RUN", "COPY", "ADD"};
  std::string word = given.word;
  if (word == "ONBUILD") {
    std::string_view text = given.text;
    word = ascii_upper(take_word(text));
  }
  std::vector<HereDocument> documents;
  if (std::ranges::find(kMayHave, word) == kMayHave.end()) return documents;
  for (HereWord& found : find_here_words(given.text)) documents.push_back(std::move(found.document));
  return documents;
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
    if (HereDocument* const document = open_document()) {
      take_into(*document, line);
      return {};
    }
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
    const HereDocument* const document = open_document();
    if (document != nullptr && reading_ == Reading::kStrict) {
      return fail(EINVAL, said_at(instructions_.back()), ": its here-document has no end: a line that is ",
                  printable(document->name), " alone");
    }
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
    LB_ASSIGN(Instruction made, make_instruction(begun_, text_, reading_));
    made.documents = documents_begun_by(made);
    ended_documents_ = 0;
    instructions_.push_back(std::move(made));
    begun_ = 0;
    text_.clear();
    return {};
  }

  /// The one whose lines come now.
  HereDocument* open_document() {
    if (instructions_.empty() || begun_ != 0) return nullptr;
    auto& documents = instructions_.back().documents;
    return ended_documents_ < documents.size() ? &documents[ended_documents_] : nullptr;
  }
  void take_into(HereDocument& document, std::string_view line) {
    if (ends_document(document, line)) {
      ++ended_documents_;
    } else {
      document.lines += line;
      document.lines += '\n';
    }
  }

  Reading reading_;
  char escape_ = '\\';
  std::vector<Instruction> instructions_;
  std::string text_;                 // of the one that is not at its end
  unsigned begun_ = 0;               // its line; 0: there is none
  std::size_t ended_documents_ = 0;  // of the last one
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
