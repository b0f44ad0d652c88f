#include "launcher/images/build_bases.h"

#include <algorithm>
#include <cctype>
#include <optional>
#include <set>
#include <string_view>
#include <utility>

#include "oci-mount/base/ascii.h"
#include "oci-mount/base/str_cat.h"

namespace layerboot::launcher {

namespace {

/// Of FROM as it is written.
struct WrittenFrom {
  std::string_view image;
  std::string_view stage;  // "": it has no name
};

WrittenFrom parse_from(std::string_view text) {
  constexpr std::string_view kBlanks = " \t\r";
  std::vector<std::string_view> words;
  while (!text.empty() && words.size() < 3) {
    words.push_back(text.substr(0, text.find_first_of(kBlanks)));
    text.remove_prefix(words.back().size());
    text.remove_prefix(std::min(text.size(), text.find_first_not_of(kBlanks)));
  }
  if (words.empty()) return {};
  return {.image = words[0], .stage = words.size() == 3 ? words[2] : std::string_view()};
}

class Bases {
 public:
  Bases(const BuildArguments& arguments, const store::Platform& target) : globals_(arguments, target) {}

  BuildBases find(const std::vector<Instruction>& instructions) {
    if (const auto taken = globals_.take(instructions); !taken)
      found_.unclear.push_back(taken.error().describe());
    for (const Instruction& one : instructions) {
      if (one.word == "FROM") take_from(one);
      if (one.word == "COPY" || one.word == "ADD") take_flags(one, one.flags, "--from=");
      if (one.word == "RUN") take_mounts(one);
    }
    return std::move(found_);
  }

 private:
  void take_from(const Instruction& from) {
    const WrittenFrom written = parse_from(from.text);
    const auto name = expand(from, written.image);
    std::string platform;
    for (const std::string& flag : from.flags) {
      constexpr std::string_view kPlatform = "--platform=";
      if (flag.starts_with(kPlatform))
        platform = expand(from, std::string_view(flag).substr(kPlatform.size())).value_or("");
    }
    if (name) add({.written = std::string(written.image), .name = *name, .platform = std::move(platform)});
    if (!written.stage.empty()) stages_.insert(ascii_lower(std::string(written.stage)));
  }
  std::optional<std::string> expand(const Instruction& from, std::string_view word) {
    const auto words = globals_.words(word);
    if (words && words->size() == 1) return words->front();
    if (!words) found_.unclear.push_back(str_cat(said_at(from), ": ", words.error().describe()));
    return {};
  }

  void take_flags(const Instruction& said, const std::vector<std::string>& flags, std::string_view begin) {
    for (const std::string& flag : flags) {
      if (flag.starts_with(begin)) take_source(said, flag.substr(begin.size()));
    }
  }
  void take_mounts(const Instruction& said) {
    constexpr std::string_view kMount = "--mount=";
    for (std::string_view flag : said.flags) {
      if (!flag.starts_with(kMount)) continue;
      flag.remove_prefix(kMount.size());
      while (!flag.empty()) {
        const std::string_view part = flag.substr(0, flag.find(','));
        flag.remove_prefix(std::min(flag.size(), part.size() + 1));
        take_flags(said, {std::string(part)}, "from=");
      }
    }
  }
  /// Which variables count there, if any, depends on the version of the builder.
  void take_source(const Instruction& said, const std::string& name) {
    if (name.contains('$')) {
      found_.unclear.push_back(str_cat(said_at(said), ": a variable names the image"));
      return;
    }
    const bool is_number = std::ranges::all_of(name, [](unsigned char c) { return std::isdigit(c) != 0; });
    if (!is_number) add({.written = name, .name = name, .platform = {}});
  }

  void add(BuildBase base) {
    if (base.name.empty() || base.name == "scratch" || stages_.contains(ascii_lower(base.name))) return;
    if (std::ranges::find(found_.bases, base) == found_.bases.end()) found_.bases.push_back(std::move(base));
  }

  GlobalScope globals_;
  BuildBases found_;
  std::set<std::string> stages_;  // so far
};

}  // namespace

BuildBases bases_in(const std::vector<Instruction>& instructions, const BuildArguments& arguments,
                    const store::Platform& target) {
  return Bases(arguments, target).find(instructions);
}

}  // namespace layerboot::launcher
